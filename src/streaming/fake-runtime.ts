/** A small honest StreamingRuntime for tests: commands are a few words it knows, ports are echoes. */
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { HuskError } from '../base/errors.ts';
import type { StreamingRuntime, TerminalSize } from './streaming-runtime.ts';

/** `cat` copies stdin to stdout; `exit N WORDS` says the words on stderr and exits; `size` tells the terminal's size; `flood` writes for as long as there is a client. */
export const fakeStreamingRuntime: StreamingRuntime = {
  async exec({ command }, streams, signal) {
    const [name, ...args] = command;
    switch (name) {
      case 'cat':
        if (streams.stdin !== undefined && streams.stdout !== undefined) await pipeline(streams.stdin, streams.stdout);
        return 0;
      case 'exit':
        streams.stderr?.write(args.slice(1).join(' '));
        return Number(args[0]);
      case 'size': {
        const { promise, resolve } = Promise.withResolvers<TerminalSize>();
        streams.onResize(resolve);
        const { width, height } = await promise;
        streams.stdout?.write(`${width}x${height}`);
        return 0;
      }
      case 'flood': {
        const block = Buffer.alloc(64 * 1024, 'y');
        while (!signal.aborted)
          if (streams.stdout?.write(block) === false)
            await once(streams.stdout, 'drain', { signal }).catch(() => undefined);
        return 0;
      }
      default:
        throw new HuskError('not-found', `exec "${name}": no such program`);
    }
  },
  async attach(_target, streams) {
    streams.stdout?.write('attached');
  },
  async portForward(_sandboxId, port, stream) {
    if (port !== 80) throw new HuskError('unavailable', `connect to port ${port}: refused`);
    await pipeline(stream, stream);
  },
};
