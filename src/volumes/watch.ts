/** Notices changes of a small tree on the host. */
import { type FSWatcher, watch } from 'node:fs';

/** Several events make one change: the kubelet's swap is three. */
const settleMs = 20;
/** Where no event comes, as on some network file systems: the kubelet's own period of syncing volumes. */
const lookAgainMs = 60_000;

export interface TreeWatch {
  close(): void;
}

/**
 * Calls `changed` after something happened at the path, and at least every minute. Only the top
 * folder is watched: the kubelet makes every change of a volume visible there, by a rename of `..data`.
 * One call at a time; what happens during a call leads to another one.
 *
 * @param failed told what `changed` rejected with; the watch goes on
 */
export function watchTree(path: string, changed: () => Promise<void>, failed: (caught: unknown) => void): TreeWatch {
  let closed = false;
  let running = false;
  let again = false;
  let timer: NodeJS.Timeout | undefined;
  const schedule = (ms: number): void => {
    if (closed) return;
    clearTimeout(timer);
    timer = setTimeout(() => void look(), ms);
    timer.unref();
  };
  const look = async (): Promise<void> => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    again = false;
    await changed().catch(failed);
    running = false;
    schedule(again ? settleMs : lookAgainMs);
  };
  const watcher = startWatcher(path, () => (running ? (again = true) : schedule(settleMs)), failed);
  schedule(lookAgainMs);
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      watcher?.close();
    },
  };
}

/** Without inotify (its number of watches is limited) the regular look is left. */
function startWatcher(path: string, event: () => void, failed: (caught: unknown) => void): FSWatcher | undefined {
  try {
    const watcher = watch(path, { persistent: false });
    watcher.on('change', event);
    watcher.on('error', failed);
    return watcher;
  } catch (caught) {
    failed(caught);
    return undefined;
  }
}
