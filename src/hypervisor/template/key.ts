/** What a template depends on: the same key, or it is built anew. Pure. */
import { createHash } from 'node:crypto';

export interface TemplateInputs {
  /** Digest of the guest image: kernel, initrd and root. */
  readonly guestImage: string;
  readonly qemuVersion: string;
  /** Digest of QEMU, its libraries and its firmware. */
  readonly qemuDigest: string;
  readonly accelerator: 'kvm' | 'tcg';
  /** The processor as /proc/cpuinfo names it: device state of one need not load on another. */
  readonly processor: string;
  /** Of the data disk, whose file system the template has mounted. */
  readonly diskBytes: number;
  /** The whole argument vector: devices, sizes, command line. */
  readonly argv: readonly string[];
}

/** 64 hex digits. */
export function templateKey(inputs: TemplateInputs): string {
  const { guestImage, qemuVersion, qemuDigest, accelerator, processor, diskBytes, argv } = inputs;
  const text = JSON.stringify([2, guestImage, qemuVersion, qemuDigest, accelerator, processor, diskBytes, argv]);
  return createHash('sha256').update(text).digest('hex');
}
