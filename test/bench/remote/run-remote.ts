/** The same benchmark on another machine: the tree goes there, `make bench` runs there, the results come back. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, type Writable } from 'node:stream';
import { HuskError } from '../../../src/base/errors.ts';
import { run as localRun } from '../../../src/base/exec.ts';
import type { Ssh } from './ssh.ts';

export interface RemoteRun {
  readonly ssh: Ssh;
  /** A git work tree; what git would not ignore is copied. */
  readonly repository: string;
  /** Variables of `make bench`: names in capitals, values without quotes or blanks. */
  readonly variables: Readonly<Record<string, string>>;
  /** Where the results go on this machine. */
  readonly out: string;
  readonly errors: Writable;
  readonly signal: AbortSignal;
}

/** Where the results lie in the copy. */
const remoteOut = 'build/bench/remote';
const listMs = 30_000;
const cleanUpS = 180;

/**
 * Runs it and brings the results into `out`, whether they are valid or not.
 *
 * @throws HuskError `internal` when the tree cannot be copied or nothing comes back
 */
export async function runRemote(run: RemoteRun): Promise<void> {
  const { ssh, errors, signal, variables } = run;
  const folder = (await text(ssh, errors, 'mktemp -d /tmp/husk-bench-remote.XXXXXX')).trim();
  if (!/^\/tmp\/husk-bench-remote\.\w+$/.test(folder)) {
    throw new HuskError('internal', `make a folder on the remote machine: it answered "${folder.slice(0, 200)}"`);
  }
  try {
    await copyTree(run, folder);
    const code = await ssh.run(benchLine(folder, variables), { output: errors, errors, signal });
    const found = await ssh.run(`test -f ${folder}/${remoteOut}/results.json`, { output: errors, errors });
    if (found !== 0) throw new HuskError('internal', `the remote run ended with code ${code} and without results`);
    await fetchResults(run, folder);
  } finally {
    await text(ssh, errors, `rm -rf ${folder}`);
  }
}

/**
 * `make bench` in a session of its own, which gets SIGTERM when our end of standard input closes: by
 * our wish, or because the connection is gone. (Shells start what goes to the background with SIGINT ignored.) Pure.
 */
export function benchLine(folder: string, variables: Readonly<Record<string, string>>): string {
  const given = Object.entries({ ...variables, OUT: remoteOut }).map(([name, value]) => {
    if (/^[A-Z]+$/.test(name) && /^[\w.,=/-]*$/.test(value)) return `${name}=${value}`;
    throw new HuskError('invalid-argument', `variable ${name}="${value}": must have no blanks and no quotes`);
  });
  return [
    `cd ${folder} && exec 3<&0`,
    `setsid make bench ${given.join(' ')} </dev/null & run=$!`,
    '(cat <&3 >/dev/null; kill -TERM -$run 2>/dev/null) & guard=$!',
    'wait $run; code=$?',
    // make is gone before what it has started: that still takes the runtimes away.
    `left=${cleanUpS}; while kill -0 -$run 2>/dev/null && [ $left -gt 0 ]; do sleep 1; left=$((left - 1)); done`,
    'kill $guard 2>/dev/null',
    'exit $code',
  ].join('\n');
}

async function copyTree({ ssh, repository, errors }: RemoteRun, folder: string): Promise<void> {
  const wanted = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const listed = (await localRun('git', ['-C', repository, ...wanted], { timeoutMs: listMs })).split('\0');
  // What git knows and somebody has deleted is not there to be sent.
  const files = listed.filter((path) => path !== '' && existsSync(join(repository, path)));
  const tar = spawn('tar', ['-C', repository, '-cz', '--null', '-T', '-'], { stdio: ['pipe', 'pipe', 'inherit'] });
  tar.stdin.end(files.join('\0'));
  // Node throws away what a program has written and nobody has begun to read when it exits.
  const packed = tar.stdout.pipe(new PassThrough());
  const code = await ssh.run(`tar -xz -C ${folder} && git -C ${folder} init -q`, {
    input: packed,
    output: errors,
    errors,
  });
  if (code !== 0) throw new HuskError('internal', `copy the tree to the remote machine: exit code ${code}`);
}

async function fetchResults({ ssh, out, errors }: RemoteRun, folder: string): Promise<void> {
  await mkdir(out, { recursive: true });
  const tar = spawn('tar', ['-xz', '--no-same-owner', '-C', out], { stdio: ['pipe', 'inherit', 'inherit'] });
  const gone = once(tar, 'exit');
  const code = await ssh.run(`tar -cz -C ${folder}/${remoteOut} .`, { output: tar.stdin, errors });
  tar.stdin.end();
  const [own] = await gone;
  if (code !== 0 || own !== 0) throw new HuskError('internal', `fetch the results: exit codes ${code} and ${own}`);
}

async function text(ssh: Ssh, errors: Writable, line: string): Promise<string> {
  const output = new PassThrough();
  const all = output.toArray();
  const code = await ssh.run(line, { output, errors });
  output.end();
  if (code !== 0) throw new HuskError('internal', `run "${line}" on the remote machine: exit code ${code}`);
  return Buffer.concat((await all) as Buffer[]).toString();
}
