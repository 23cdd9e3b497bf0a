/** Commands on another machine, over one SSH connection. */
import { readFile } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { Client, type ClientChannel, type ConnectConfig } from 'ssh2';
import { HuskError } from '../../../src/base/errors.ts';
import { judgeHostKey } from './known-hosts.ts';

export interface RemoteHost {
  readonly user: string;
  readonly name: string;
  readonly port: number;
}

export interface SshOptions {
  readonly host: RemoteHost;
  /** The text of a known_hosts file. */
  readonly knownHosts: string;
  /** How to prove who we are: an agent's socket, or private keys. */
  readonly agent?: string;
  readonly keys: readonly (string | Buffer)[];
}

const connectMs = 20_000;
const keepaliveMs = 15_000;
/** What ssh(1) returns when the connection breaks. */
const brokenCode = 255;

/** `[user@]host[:port]`. @throws HuskError `invalid-argument` */
export function parseHost(text: string): RemoteHost {
  const match = /^(?:([^@\s]+)@)?([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?$/.exec(text);
  if (match === null) {
    throw new HuskError('invalid-argument', `host "${text}": must be [user@]name[:port]`);
  }
  const [, user = userInfo().username, name = '', port = '22'] = match;
  return { user, name: name.replaceAll(/[[\]]/g, ''), port: Number(port) };
}

/** What OpenSSH would use: the agent, and the usual key files of this user. */
export async function userOptions(host: RemoteHost): Promise<SshOptions> {
  const folder = join(homedir(), '.ssh');
  const knownHosts = await readFile(join(folder, 'known_hosts'), 'utf8').catch(() => '');
  const files = ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => readFile(join(folder, name)).catch(() => undefined));
  const keys = (await Promise.all(files)).filter((key) => key !== undefined);
  const agent = process.env['SSH_AUTH_SOCK'];
  return { host, knownHosts, keys, ...(agent === undefined ? {} : { agent }) };
}

export class Ssh implements Disposable {
  readonly #client: Client;

  private constructor(client: Client) {
    this.#client = client;
  }

  /**
   * Connects to a host whose key is known, with the first identity that it takes.
   *
   * @throws HuskError `failed-precondition` for a key that is not known, `unavailable`
   */
  static async connect(options: SshOptions): Promise<Ssh> {
    const { host, agent, keys } = options;
    const identities = [...(agent === undefined ? [] : [{ agent }]), ...keys.map((privateKey) => ({ privateKey }))];
    let failure: HuskError | undefined;
    for (const identity of identities) {
      try {
        return new Ssh(await connectWith(options, identity));
      } catch (caught) {
        failure = HuskError.from(caught);
        if (failure.kind === 'failed-precondition') throw failure;
      }
    }
    const why = failure?.message ?? 'there is no SSH agent and no private key';
    throw new HuskError('unavailable', `connect to "${host.user}@${host.name}": ${why}`);
  }

  /**
   * Runs a shell line; its standard input stays open until the signal fires.
   *
   * @returns the exit code; 255 when the connection broke
   */
  async run(
    line: string,
    io: {
      readonly input?: Readable;
      readonly output: Writable;
      readonly errors: Writable;
      readonly signal?: AbortSignal;
    },
  ): Promise<number> {
    const { channel, exited } = await this.#exec(line);
    const closeInput = (): void => void channel.end();
    if (io.signal?.aborted) closeInput();
    io.signal?.addEventListener('abort', closeInput, { once: true });
    channel.stderr.pipe(io.errors, { end: false });
    io.input?.pipe(channel);
    for await (const chunk of channel) io.output.write(chunk);
    const code = await exited;
    io.signal?.removeEventListener('abort', closeInput);
    return code;
  }

  [Symbol.dispose](): void {
    this.#client.end();
  }

  async #exec(line: string): Promise<{ channel: ClientChannel; exited: Promise<number> }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ channel: ClientChannel; exited: Promise<number> }>();
    this.#client.exec(line, (cause, channel) => {
      if (cause !== undefined) {
        reject(new HuskError('unavailable', `run a command over SSH: ${cause.message}`, { cause }));
        return;
      }
      // Here, not later: the answer of a short command may be in the same packet.
      const exited = Promise.withResolvers<number>();
      channel.on('exit', (code: number | null) => exited.resolve(code ?? brokenCode));
      channel.on('close', () => exited.resolve(brokenCode));
      resolve({ channel, exited: exited.promise });
    });
    return promise;
  }
}

async function connectWith({ host, knownHosts }: SshOptions, identity: Partial<ConnectConfig>): Promise<Client> {
  const { promise, resolve, reject } = Promise.withResolvers<Client>();
  const client = new Client();
  let judged: ReturnType<typeof judgeHostKey> = 'known';
  client.once('ready', () => resolve(client));
  client.on('error', (cause) => {
    if (judged === 'known') {
      reject(new HuskError('unavailable', cause.message, { cause }));
      return;
    }
    const text = `connect to "${host.name}": its host key is ${judged === 'different' ? 'not the one that is known' : 'not known'}`;
    reject(new HuskError('failed-precondition', text, { hint: 'connect once with ssh, and compare the fingerprint' }));
  });
  client.connect({
    host: host.name,
    port: host.port,
    username: host.user,
    readyTimeout: connectMs,
    keepaliveInterval: keepaliveMs,
    hostVerifier: (key: Buffer) => {
      judged = judgeHostKey(knownHosts, host, key);
      return judged === 'known';
    },
    ...identity,
  });
  return promise;
}
