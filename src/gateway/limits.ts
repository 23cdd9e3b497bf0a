/** What a guest may do to the gateway, and how long the gateway waits for it. */

/** Largest message a guest may send, in bytes. The largest honest one is a chunk of output. */
export const maxGuestMessageBytes = 1024 * 1024;
/** Largest chunk of output in one message, in bytes (agent.proto). */
export const maxOutputBytes = 64 * 1024;
/** ExecSync keeps at most this much of each stream, whatever was asked (CRI runtimes agree on 16 MiB). */
export const maxExecSyncBytes = 16 * 1024 * 1024;

/** Times and caps of one link; tests shorten them. */
export interface LinkLimits {
  /** A SYNC frame every so many milliseconds. */
  readonly syncEveryMs: number;
  /** One try of the handshake, in milliseconds; then the connection is made anew. */
  readonly handshakeMs: number;
  /** An idle link is pinged after this, in milliseconds. */
  readonly keepaliveMs: number;
  /** And is dead when the ping is not answered within this, in milliseconds. */
  readonly keepaliveTimeoutMs: number;
  /** A lost link is tried again for this long, in milliseconds. */
  readonly reconnectMs: number;
  /** Bytes that carry nothing useful: the most at once. */
  readonly wasteBytes: number;
  /** Bytes that carry nothing useful: the most per second in the long run. */
  readonly wasteBytesPerSecond: number;
  /** Messages of the event stream per second before its reading is slowed down. */
  readonly eventsPerSecond: number;
  /** Raw output of one stream that waits for huskd, in bytes; beyond it the guest is not read. */
  readonly streamBytes: number;
  /** ExecSync calls of one VM at a time. */
  readonly execs: number;
  /** Streams of exec, attach and port-forward of one VM at a time. */
  readonly streams: number;
  /** Frames of the bulk channel that carry little, per second, before its reading is slowed down. */
  readonly smallFramesPerSecond: number;
  /** Output that the ExecSync calls of all VMs keep together, in bytes; an answer needs up to three times as much for a moment. */
  readonly execBytes: number;
}

/** The limits of a real gateway. */
export const defaultLinkLimits: LinkLimits = {
  syncEveryMs: 50,
  handshakeMs: 5_000,
  // Under emulation an answer costs its guest 20 ms of CPU, and a node may have a hundred guests.
  keepaliveMs: 20_000,
  keepaliveTimeoutMs: 10_000,
  reconnectMs: 30_000,
  wasteBytes: 8 * 1024 * 1024,
  wasteBytesPerSecond: 1024 * 1024,
  eventsPerSecond: 4_000,
  streamBytes: 256 * 1024,
  execs: 32,
  streams: 512,
  smallFramesPerSecond: 50_000,
  execBytes: 128 * 1024 * 1024,
};
