/** A file server of a pod, and in place of the pod's VM a raw client. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ShareServer } from '../../src/volumes/share-server.ts';
import { FuseClient } from './fuse-client.ts';

export const shareProgram: string = join(import.meta.dirname, '../../build/bin/husk-share');

export interface SharedFolder extends AsyncDisposable {
  readonly server: ShareServer;
  readonly client: FuseClient;
  /** Of the test: its state lies here. */
  readonly folder: string;
}

/** Starts a server with nothing in it, and a session that has not said anything. */
export async function startShare(cgroupPaths: readonly string[] = []): Promise<SharedFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-share-'));
  const socket = join(folder, 'share.sock');
  const listener = createServer().listen(socket);
  await once(listener, 'listening');
  const connected = once(listener, 'connection');
  const server = await ShareServer.start({ program: shareProgram, socket, stateFolder: folder, cgroupPaths });
  const client = new FuseClient((await connected)[0] as Socket);
  return {
    server,
    client,
    folder,
    async [Symbol.asyncDispose]() {
      await client.end();
      await ShareServer.end(folder);
      listener.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
