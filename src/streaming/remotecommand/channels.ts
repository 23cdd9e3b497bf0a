/** Messages of the remote command protocol over WebSocket: the first byte names the channel. Pure. */

export const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
/** Version 5: this number, and behind it the channel whose sender has ended. */
export const halfClose = 255;

export interface ChannelCodec {
  /** Messages are text: a digit, and the content in base64. */
  readonly base64: boolean;
  /** Whether half-closes are understood: version 5. */
  readonly halfClose: boolean;
}

/** A message for a channel. */
export function encode(channel: number, content: Buffer, codec: ChannelCodec): Buffer | string {
  if (codec.base64) return `${channel}${content.toString('base64')}`;
  return Buffer.concat([Buffer.from([channel]), content]);
}

/** The channel and the content of a message; an empty message is for channel -1, which nobody has. */
export function decode(data: Buffer, codec: ChannelCodec): { channel: number; content: Buffer } {
  const first = data[0] ?? -1;
  if (!codec.base64) return { channel: first, content: data.subarray(1) };
  return { channel: first - 0x30, content: Buffer.from(data.toString('latin1', 1), 'base64') };
}
