/** Where a VM pod's files lie. Pure. */
import { join } from 'node:path';

/** The pod's folder below the state folder and below the data folder. */
export function podFolders(
  options: { readonly stateFolder: string; readonly dataFolder: string },
  sandboxId: string,
): { readonly state: string; readonly data: string } {
  return { state: join(options.stateFolder, 'pods', sandboxId), data: join(options.dataFolder, 'pods', sandboxId) };
}

/** The position file of a container's log. */
export function logPositionPath(dataFolder: string, containerId: string): string {
  return join(dataFolder, `${containerId}.log-position`);
}
