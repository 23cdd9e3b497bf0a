/**
 * Readers for the records of pods and containers: JSON of unknown shape in, a record out,
 * or HuskError `invalid-argument` that names the field. Pure.
 *
 * Unknown fields are dropped; an unknown version is refused.
 */

import { HuskError } from '../base/errors.ts';
import { type ContainerId, type Digest, isDigest, isId, type SandboxId } from '../base/ids.ts';
import {
  asBoolean,
  asInteger,
  asList,
  asMatch,
  asNumber,
  asObject,
  asOneOf,
  asString,
  asStringMap,
  type JsonObject,
} from '../base/shape.ts';
import type { ContainerRecord, ContainerStatusRecord, SandboxRecord, SandboxStatus, TimelineStep } from './records.ts';

/** Reads a sandbox's record. */
export function parseSandboxRecord(value: unknown): SandboxRecord {
  const record = asObject(value, 'sandbox');
  const metadata = asObject(record['metadata'], 'metadata');
  return {
    version: asOneOf(record['version'], 'version', [1]),
    id: asSandboxId(record['id'], 'id'),
    metadata: {
      name: asString(metadata['name'], 'metadata.name'),
      namespace: asString(metadata['namespace'], 'metadata.namespace'),
      uid: asString(metadata['uid'], 'metadata.uid'),
      attempt: asInteger(metadata['attempt'], 'metadata.attempt'),
    },
    labels: asStringMap(record['labels'], 'labels'),
    annotations: asStringMap(record['annotations'], 'annotations'),
    configBase64: asBase64(record['configBase64'], 'configBase64'),
    runtimeHandler: asString(record['runtimeHandler'], 'runtimeHandler'),
    runtime: asOneOf(record['runtime'], 'runtime', ['vm', 'native']),
    runtimeReason: asString(record['runtimeReason'], 'runtimeReason'),
    createdAtNs: asNs(record['createdAtNs'], 'createdAtNs'),
    status: parseSandboxStatus(asObject(record['status'], 'status')),
  };
}

/** Reads a container's record. */
export function parseContainerRecord(value: unknown): ContainerRecord {
  const record = asObject(value, 'container');
  const metadata = asObject(record['metadata'], 'metadata');
  return {
    version: asOneOf(record['version'], 'version', [1]),
    id: asContainerId(record['id'], 'id'),
    sandboxId: asSandboxId(record['sandboxId'], 'sandboxId'),
    metadata: {
      name: asString(metadata['name'], 'metadata.name'),
      attempt: asInteger(metadata['attempt'], 'metadata.attempt'),
    },
    labels: asStringMap(record['labels'], 'labels'),
    annotations: asStringMap(record['annotations'], 'annotations'),
    configBase64: asBase64(record['configBase64'], 'configBase64'),
    imageId: asDigest(record['imageId'], 'imageId'),
    imageName: asString(record['imageName'], 'imageName'),
    stopSignal: asString(record['stopSignal'], 'stopSignal'),
    logPath: asMatch(record['logPath'], 'logPath', /^($|\/)/, 'an absolute path or nothing'),
    createdAtNs: asNs(record['createdAtNs'], 'createdAtNs'),
    status: parseContainerStatus(asObject(record['status'], 'status')),
  };
}

function parseSandboxStatus(status: JsonObject): SandboxStatus {
  return {
    phase: asOneOf(status['phase'], 'status.phase', ['intended', 'ready', 'not-ready', 'removing']),
    reason: asString(status['reason'], 'status.reason'),
    ips: asList(status['ips'], 'status.ips', asString),
    runtimeState: status['runtimeState'],
    timeline: asList(status['timeline'], 'status.timeline', parseStep),
  };
}

function parseStep(value: unknown, where: string): TimelineStep {
  const step = asObject(value, where);
  return { step: asString(step['step'], `${where}.step`), atMs: asNumber(step['atMs'], `${where}.atMs`) };
}

function parseContainerStatus(status: JsonObject): ContainerStatusRecord {
  return {
    intended: asBoolean(status['intended'], 'status.intended'),
    startedAtNs: asNs(status['startedAtNs'], 'status.startedAtNs'),
    finishedAtNs: asNs(status['finishedAtNs'], 'status.finishedAtNs'),
    exitCode: asInteger(status['exitCode'], 'status.exitCode'),
    reason: asString(status['reason'], 'status.reason'),
    message: asString(status['message'], 'status.message'),
    user: status['user'] === null ? null : parseUser(asObject(status['user'], 'status.user')),
    removing: asBoolean(status['removing'], 'status.removing'),
    // Absent in records of before there were updates.
    resourcesBase64: asBase64(status['resourcesBase64'] ?? '', 'status.resourcesBase64'),
  };
}

function parseUser(user: JsonObject): NonNullable<ContainerStatusRecord['user']> {
  return {
    uid: asInteger(user['uid'], 'status.user.uid'),
    gid: asInteger(user['gid'], 'status.user.gid'),
    supplementalGroups: asList(user['supplementalGroups'], 'status.user.supplementalGroups', asInteger),
  };
}

function asSandboxId(value: unknown, where: string): SandboxId {
  return asId(value, where) as SandboxId;
}

function asContainerId(value: unknown, where: string): ContainerId {
  return asId(value, where) as ContainerId;
}

function asId(value: unknown, where: string): string {
  const text = asString(value, where);
  if (isId(text)) return text;
  throw new HuskError(
    'invalid-argument',
    `read "${where}": found "${text.slice(0, 80)}", wanted 64 lower-case hex digits`,
  );
}

function asDigest(value: unknown, where: string): Digest {
  const text = asString(value, where);
  if (isDigest(text)) return text;
  throw new HuskError('invalid-argument', `read "${where}": found "${text.slice(0, 80)}", wanted a sha256 digest`);
}

/** Decimal nanoseconds; empty or `0` for what has not happened. At most 20 digits, as 64 bits have. */
function asNs(value: unknown, where: string): string {
  return asMatch(value, where, /^\d{0,20}$/, 'a decimal number of nanoseconds');
}

function asBase64(value: unknown, where: string): string {
  const wanted = 'base64';
  const text = asMatch(value, where, /^[A-Za-z0-9+/]*={0,2}$/, wanted);
  if (text.length % 4 === 0) return text;
  throw new HuskError('invalid-argument', `read "${where}": found ${text.length} characters of it, wanted ${wanted}`);
}
