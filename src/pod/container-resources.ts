/** The limits of a container as they stand: as it was created, or as they were changed since. Pure. */
import { ContainerConfig, LinuxContainerResources } from '../gen/cri/v1/api.ts';
import type { ContainerRecord } from './records.ts';

/** The limits in force; undefined when none were ever given. */
export function resourcesOf(record: ContainerRecord): LinuxContainerResources | undefined {
  const { resourcesBase64 } = record.status;
  if (resourcesBase64 !== '') return LinuxContainerResources.decode(Buffer.from(resourcesBase64, 'base64'));
  return ContainerConfig.decode(Buffer.from(record.configBase64, 'base64')).linux?.resources;
}

/** As a record keeps them. */
export function encodeResources(resources: LinuxContainerResources): string {
  return Buffer.from(LinuxContainerResources.encode(resources).finish()).toString('base64');
}

/** The limits after a change: what is zero or empty in it stays as it was. */
export function mergeResources(
  before: LinuxContainerResources | undefined,
  change: LinuxContainerResources,
): LinuxContainerResources {
  const told = Object.entries(change).filter(([, value]) => isTold(value));
  const pages = new Map(
    [...(before?.hugepageLimits ?? []), ...change.hugepageLimits].map((page) => [page.pageSize, page]),
  );
  return {
    ...LinuxContainerResources.create(before),
    ...Object.fromEntries(told),
    hugepageLimits: [...pages.values()],
    unified: { ...before?.unified, ...change.unified },
  };
}

function isTold(value: unknown): boolean {
  return value !== 0n && value !== '' && value !== undefined;
}
