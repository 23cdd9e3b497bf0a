/** ReopenContainerLog: conmon is told through its fifo, and watched while it does it. */
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { HuskError } from '../base/errors.ts';
import { ContainerConfig } from '../gen/cri/v1/api.ts';
import type { ContainerRecord } from '../pod/records.ts';
import type { ContainerPlaces, PodPlaces } from './places.ts';
import { until } from './processes.ts';

/** conmon's message "open the log anew": its kind, and two numbers that only a terminal's size needs. */
const reopenMessage = '2 0 0\n';
const reopenMs = 10_000;

/**
 * Makes conmon open the log path anew. A log that is still at its path was not rotated: conmon
 * would replace it by an empty one, so nothing is done.
 * @throws HuskError `failed-precondition` when conmon is gone, `deadline-exceeded`
 */
export async function reopenLog(places: ContainerPlaces, pod: PodPlaces, container: ContainerRecord): Promise<void> {
  const config = ContainerConfig.decode(Buffer.from(container.configBase64, 'base64'));
  const path = join(pod.logs, config.logPath);
  if (await exists(path)) return;
  await tell(places.control, container.id);
  if (await until(reopenMs, () => exists(path))) return;
  throw new HuskError(
    'deadline-exceeded',
    `reopen log "${relative(pod.logs, path)}" of container "${container.id}": conmon did not make it within ${reopenMs} ms`,
    { stage: 'log' },
  );
}

async function tell(fifo: string, containerId: string): Promise<void> {
  try {
    // Without a reader this fails at once instead of waiting for one.
    await using file = await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    await file.write(reopenMessage);
  } catch (cause) {
    throw new HuskError('failed-precondition', `reopen log of container "${containerId}": its conmon does not listen`, {
      cause,
      stage: 'log',
    });
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
