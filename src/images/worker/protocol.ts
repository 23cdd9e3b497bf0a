/**
 * What huskd and the image worker say to each other: lines of JSON. The worker has read a
 * registry's bytes, so huskd takes every line of its for hostile.
 */
import { type ErrorKind, errorKinds, HuskError } from '../../base/errors.ts';
import type { Digest } from '../../base/ids.ts';
import type { RegistryHost } from '../hosts.ts';
import type { ImageRunConfig, RegistryAuth } from '../image-store.ts';
import { asCount, asDigest, asList, asObject, asText, type JsonObject, parseObject } from '../json.ts';
import type { ImageLimits } from '../limits.ts';
import type { LayerDescriptor } from '../manifest.ts';
import type { Reference } from '../reference.ts';

/** The longest line of either side, in bytes. */
export const maxLineBytes = 4 * 1024 * 1024;

/** Credentials as the worker needs them. */
export type Credentials = Pick<RegistryAuth, 'username' | 'password' | 'identityToken' | 'registryToken'>;

/** A host and what may be told to it. */
export interface JobHost extends RegistryHost {
  readonly credentials: Credentials | undefined;
}

/** The first line to the worker. */
export interface Job {
  readonly reference: Reference;
  readonly hosts: readonly JobHost[];
  /** Token servers (host names) that may see credentials though they belong to another domain. */
  readonly trustedRealms: readonly string[];
  readonly limits: ImageLimits;
  /** The worker's own folder: it writes nowhere else. */
  readonly folder: string;
  readonly squashfs: SquashfsFormat;
}

/** How layers are packed. */
export interface SquashfsFormat {
  readonly compressor: 'lz4' | 'zstd' | 'gzip';
  readonly blockBytes: number;
}

/** Later lines to the worker. */
export type Command =
  /** Sent once, after `resolved`: the layers to make. The worker ends when they are made. */
  | { readonly type: 'layers'; readonly wanted: readonly number[] }
  /** Nobody wants this layer any more. */
  | { readonly type: 'drop'; readonly layer: number };

/** A layer of a resolved image. */
export interface ResolvedLayer extends LayerDescriptor {
  readonly diffId: Digest;
}

/** An image as the registry describes it. */
export interface ResolvedImage {
  readonly id: Digest;
  /** Digest of what the reference names: the index, where there is one. */
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly config: ImageRunConfig;
  readonly layers: readonly ResolvedLayer[];
}

/** An error on its way through the pipe. */
export interface WireError {
  readonly kind: ErrorKind;
  readonly message: string;
  readonly stage: string | undefined;
  readonly hint: string | undefined;
}

/** Lines from the worker. */
export type WorkerEvent =
  | { readonly type: 'resolved'; readonly image: ResolvedImage }
  | { readonly type: 'progress'; readonly layer: number; readonly bytes: number }
  | { readonly type: 'layer'; readonly layer: number; readonly bytes: number; readonly droppedDevices: number }
  | { readonly type: 'layer-failed'; readonly layer: number; readonly error: WireError }
  | { readonly type: 'error'; readonly error: WireError };

/** The file a layer is made in, inside the worker's folder. */
export function layerFileName(layer: number): string {
  return `layer-${layer}.sqfs`;
}

/** @throws HuskError `invalid-argument` when the line is none of the events */
export function parseEvent(line: string, limits: ImageLimits): WorkerEvent {
  const root = parseObject('event of the image worker', line);
  const type = root['type'];
  if (type === 'resolved') return { type, image: parseResolved(asObject('resolved image', root['image']), limits) };
  if (type === 'error') return { type, error: parseError(root['error']) };
  const layer = asCount('layer number', root['layer'], limits.layers - 1);
  if (type === 'progress') return { type, layer, bytes: count(root['bytes']) };
  if (type === 'layer')
    return { type, layer, bytes: count(root['bytes']), droppedDevices: count(root['droppedDevices']) };
  if (type === 'layer-failed') return { type, layer, error: parseError(root['error']) };
  throw new HuskError('invalid-argument', 'read event of the image worker: unknown type');
}

/** Makes an error ready for the pipe. */
export function wireError(caught: unknown): WireError {
  const error = HuskError.from(caught);
  const cause = error.cause instanceof Error && error.cause.message !== error.message ? `: ${error.cause.message}` : '';
  const message = `${error.message}${cause}`.replaceAll(/[\0-\x1f\x7f]+/g, ' ').slice(0, 2000);
  return { kind: error.kind, message, stage: error.stage, hint: error.hint };
}

/** The error of the other side. */
export function errorFromWire(error: WireError): HuskError {
  return new HuskError(error.kind, error.message, {
    ...(error.stage === undefined ? {} : { stage: error.stage }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

/** Reads the run config of a record or an event. */
export function parseStoredConfig(value: unknown): ImageRunConfig {
  const config = asObject('run config', value);
  const list = (key: string): string[] => asList(key, config[key], 4096).map((each) => text(each, 65_536));
  return {
    user: text(config['user'], 256),
    env: list('env'),
    workingDir: text(config['workingDir'], 4096),
    entrypoint: list('entrypoint'),
    cmd: list('cmd'),
    stopSignal: text(config['stopSignal'], 32),
    volumes: list('volumes'),
  };
}

function parseResolved(value: JsonObject, limits: ImageLimits): ResolvedImage {
  return {
    id: asDigest('image id', value['id']),
    digest: asDigest('manifest digest', value['digest']),
    sizeBytes: count(value['sizeBytes']),
    config: parseStoredConfig(value['config']),
    layers: asList('layers', value['layers'], limits.layers).map((each) => {
      const layer = asObject('layer', each);
      const compression = layer['compression'];
      return {
        digest: asDigest('layer digest', layer['digest']),
        diffId: asDigest('diff id', layer['diffId']),
        size: asCount('layer size', layer['size'], limits.layerBytes),
        compression: compression === 'gzip' || compression === 'zstd' ? compression : 'none',
      };
    }),
  };
}

function parseError(value: unknown): WireError {
  const error = asObject('error', value);
  const kind = errorKinds.find((each) => each === error['kind']) ?? 'internal';
  return {
    kind,
    message: asText('error message', error['message'], 2000),
    stage: asText('error stage', error['stage'], 100) || undefined,
    hint: asText('error hint', error['hint'], 500) || undefined,
  };
}

function text(value: unknown, max: number): string {
  if (typeof value === 'string' && value.length <= max && !value.includes('\0')) return value;
  throw new HuskError('invalid-argument', 'read run config: wanted strings of bounded length');
}

function count(value: unknown): number {
  return asCount('number of bytes', value, Number.MAX_SAFE_INTEGER);
}
