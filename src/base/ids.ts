import { randomBytes } from 'node:crypto';

declare const brand: unique symbol;
type Branded<T extends string> = string & { readonly [brand]: T };

/** 64 lower-case hex digits, made by the host. */
export type SandboxId = Branded<'SandboxId'>;
/** 64 lower-case hex digits, made by the host. */
export type ContainerId = Branded<'ContainerId'>;
/** `sha256:` and 64 lower-case hex digits. */
export type Digest = Branded<'Digest'>;

const idPattern = /^[0-9a-f]{64}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$/;

function newHexId(): string {
  return randomBytes(32).toString('hex');
}

/** A new sandbox id from the kernel's random numbers. */
export function newSandboxId(): SandboxId {
  return newHexId() as SandboxId;
}

/** A new container id from the kernel's random numbers. */
export function newContainerId(): ContainerId {
  return newHexId() as ContainerId;
}

/** Whether the text is a whole id: 64 lower-case hex digits. */
export function isId(text: string): boolean {
  return idPattern.test(text);
}

/** Whether the text is a digest that may be used in a path. */
export function isDigest(text: string): text is Digest {
  return digestPattern.test(text);
}

/** The first 12 digits: for interface, namespace and cgroup names, which have short limits. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}
