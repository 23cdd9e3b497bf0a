/** The agent: started by PID 1 of the guest, lives as long as the VM. */
import { constants, mkdirSync, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { describeError } from '../../src/base/errors.ts';
import { ExecHelper } from './exec-helper.ts';
import { Exits } from './exits.ts';
import { FifoPool } from './fifos.ts';
import { consoleLog } from './log.ts';
import { ociRuntime } from './oci-runtime.ts';
import { podPlaces } from './places.ts';
import { Pod } from './pod.ts';
import { PreparedContainers } from './prepared/pool.ts';
import { serve } from './server.ts';
import { guestSettings, withCommandLine } from './settings.ts';
import { SysHelper } from './sys-helper.ts';

const settings = withCommandLine(guestSettings, readFileSync('/proc/cmdline', 'latin1'));
const log = consoleLog();
// One broken call must not end the pod: its own error handling failed, so it is told on the console.
process.on('uncaughtException', (error) => log.error({ error: describeError(error) }, 'uncaught'));
process.on('unhandledRejection', (error) => log.error({ error: describeError(error) }, 'unhandled'));

const { containersFolder, layersFolder, fifosFolder, volumesFolder, subPathsFolder } = podPlaces(settings);
for (const folder of [settings.etcDir, containersFolder, layersFolder, fifosFolder, volumesFolder, subPathsFolder])
  mkdirSync(folder, { recursive: true, mode: 0o755 });
const sys = new SysHelper(settings.sysPath);
const fifos = new FifoPool(sys, fifosFolder, log);
const exits = new Exits();
// A socket and not a file stream: a read of that would hold one of the few threads for ever.
const exitsFd = openSync(settings.exitsFifo, constants.O_RDONLY | constants.O_NONBLOCK);
new Socket({ fd: exitsFd, readable: true, writable: false }).on('data', (bytes) => exits.feed(Buffer.from(bytes)));
const execs = settings.execPath === undefined ? undefined : new ExecHelper(settings.execPath);
execs?.start();
const runtime = ociRuntime(settings.runtimePath, settings.stateDir, execs);
// Runs in the template: the runtime's pages and the FIFOs are there in every clone.
const [version] = await Promise.all([runtime.version(), fifos.fill()]);
const pod = new Pod({ settings, sys, exits, fifos, runtime, log });
if (settings.template) {
  await pod.volumes.mountAhead();
  await sys.run(pod.layers.mapSlots());
}
await serve(pod, version, log);
if (execs !== undefined) {
  pod.prepared = new PreparedContainers(pod, log);
  await pod.prepared.fill();
}
