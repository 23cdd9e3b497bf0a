/**
 * What the streaming server asks of whoever runs containers: plain streams, no transport.
 * The server knows no pod; the runtime knows no SPDY and no WebSocket.
 */
import type { Duplex, Readable, Writable } from 'node:stream';

/** Size of a terminal, in characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

export interface ExecTarget {
  readonly sandboxId: string;
  readonly containerId: string;
  /** Empty for attach. */
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** The client's ends. Those not asked for are undefined. The runtime ends stdout and stderr when all is written. */
export interface ProcessStreams {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** Called with each new size; only the latest matters. Before the first call the size is unknown. */
  onResize(listener: (size: TerminalSize) => void): void;
}

export interface StreamingRuntime {
  /**
   * Runs a command to its end. All output is written before this settles. When the signal fires the client is gone:
   * its streams are dead, what becomes of the process is the runtime's choice.
   * @returns the exit code
   */
  exec(target: ExecTarget, streams: ProcessStreams, signal: AbortSignal): Promise<number>;
  /** Joins the streams of a running container until it, or the client, ends. Nothing earlier is replayed. */
  attach(target: ExecTarget, streams: ProcessStreams, signal: AbortSignal): Promise<void>;
  /**
   * A client that forwards ports is there, and is gone when the signal fires. Absent: nobody needs to know.
   * @throws HuskError when its pod is gone
   */
  portSession?(sandboxId: string, signal: AbortSignal): Promise<void>;
  /**
   * Connects to a port on the loopback of the pod and copies both ways until both have ended.
   * @throws HuskError when the connection is refused
   */
  portForward(sandboxId: string, port: number, stream: Duplex, signal: AbortSignal): Promise<void>;
}
