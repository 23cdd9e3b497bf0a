/** All scenarios. Each is run by runC on the host, and in pods, and compared. */
import { configs } from './configs.ts';
import { emptyDirs } from './empty-dirs.ts';
import { files } from './files.ts';
import { hostPaths } from './host-paths.ts';
import type { Scenario } from './scenario.ts';

export const scenarios: readonly Scenario[] = [...hostPaths, ...files, ...configs, ...emptyDirs];
