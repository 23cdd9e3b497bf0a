/** Where the agent keeps what it makes. */
import type { Settings } from './settings.ts';

/** Folders and files of the pod. */
export interface PodPaths {
  readonly dataFolder: string;
  readonly shmFolder: string;
  readonly bootIdFile: string;
  readonly etcDir: string;
  readonly hostnameFile: string;
  readonly resolvConfFile: string;
  readonly layersFolder: string;
  readonly containersFolder: string;
  readonly fifosFolder: string;
  /** There once the sandbox is configured. */
  readonly configuredFile: string;
  readonly volumesFolder: string;
  /** Layers with the owners of the pod's user namespace, on the data disk. */
  readonly shiftedFolder: string;
  /** Binds of what containers mount of a volume. */
  readonly subPathsFolder: string;
  /** Where the file server is mounted. */
  readonly shareFolder: string;
}

/** Folders and files of a container. */
export interface ContainerPaths {
  /** The OCI bundle. */
  readonly folder: string;
  readonly rootfs: string;
  readonly spec: string;
  readonly filesFolder: string;
  /** Both sides of the overlay that are written lie on the data disk, in `written`. */
  readonly upper: string;
  readonly work: string;
  readonly written: string;
}

/** Where things of the pod are. */
export function podPlaces(settings: Settings): PodPaths {
  const { stateDir, etcDir } = settings;
  return {
    dataFolder: `${stateDir}/data`,
    shmFolder: `${stateDir}/shm`,
    bootIdFile: `${stateDir}/boot_id`,
    etcDir,
    hostnameFile: `${etcDir}/hostname`,
    resolvConfFile: `${etcDir}/resolv.conf`,
    layersFolder: `${stateDir}/l`,
    containersFolder: `${stateDir}/c`,
    fifosFolder: `${stateDir}/fifos`,
    configuredFile: `${stateDir}/configured`,
    volumesFolder: `${stateDir}/v`,
    shiftedFolder: `${stateDir}/data/shifted`,
    subPathsFolder: `${stateDir}/sub`,
    shareFolder: settings.shareFolder ?? `${stateDir}/share`,
  };
}

/** Where things of a container are. */
export function containerPlaces(settings: Settings, id: string): ContainerPaths {
  const { containersFolder, dataFolder } = podPlaces(settings);
  const folder = `${containersFolder}/${id}`;
  return {
    folder,
    rootfs: `${folder}/rootfs`,
    spec: `${folder}/config.json`,
    filesFolder: `${folder}/files`,
    upper: `${dataFolder}/${id}/upper`,
    work: `${dataFolder}/${id}/work`,
    written: `${dataFolder}/${id}`,
  };
}
