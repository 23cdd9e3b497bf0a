/** Where the agent keeps what it makes. */
import type { Settings } from './settings.ts';

/** Folders and files of the pod. */
export function podPlaces(settings: Settings) {
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
  };
}

/** Folders and files of a container. */
export function containerPlaces(settings: Settings, id: string) {
  const { containersFolder, dataFolder } = podPlaces(settings);
  const folder = `${containersFolder}/${id}`;
  return {
    folder,
    rootfs: `${folder}/rootfs`,
    spec: `${folder}/config.json`,
    pidFile: `${folder}/pid`,
    filesFolder: `${folder}/files`,
    /** Both sides of the overlay that are written lie on the data disk. */
    upper: `${dataFolder}/${id}/upper`,
    work: `${dataFolder}/${id}/work`,
    written: `${dataFolder}/${id}`,
  };
}
