/** The whole table. */
import type { CompatCase } from '../case.ts';
import { capabilities, maskedPaths, privileges } from './privileges.ts';
import { limits, namespaces, processes, sysctls } from './process.ts';
import { users } from './users.ts';

export const allCases: readonly CompatCase[] = [
  ...users,
  ...capabilities,
  ...privileges,
  ...maskedPaths,
  ...processes,
  ...limits,
  ...sysctls,
  ...namespaces,
];
