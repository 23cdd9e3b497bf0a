/** Values that have broken container runtimes, by the kind of field they are put into. For tests. */

const control = ['a\nb', 'a\rb', 'a\0b', '\u001b[2J', 'a\u007f'];
const huge = 'x'.repeat(65_536);

/** Names that reach files, variables of CNI and labels. */
export const badNames = [
  '',
  '..',
  '.',
  '-rf',
  '--help',
  'a/b',
  '../x',
  'a b',
  'a;b',
  'a=b',
  '$(id)',
  '`id`',
  'ü',
  huge,
  ...control,
];
/** Host names. */
export const badHostnames = ['-a', 'a_', 'a b', 'a/b', '../x', '$(id)', 'x'.repeat(65), ...control];
/** Absolute paths. */
export const badPaths = ['relative', './x', '../x', '/..', '/a/../b', '/a/..', `/${huge}`, '/a\nb', '/a\0b', '/\u001b'];
/** Paths beneath another. */
export const badRelativePaths = ['/abs', '..', '../x', 'a/../b', 'a/..', huge, 'a\nb', 'a\0b'];
/** IP addresses. */
export const badIps = ['', 'x', '1.2.3', '1.2.3.4.5', '256.1.1.1', '1.2.3.4/8', '1.2.3.4 ', ' ::1', ':::', ...control];
/** User and group ids. */
export const badIds = [-1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, -(2n ** 63n), 2n ** 63n - 1n];
/** User names. */
export const badUserNames = ['0', '00', '1000', '4294967296', 'a:b', 'root:0', '-u', 'a b', 'a/b', ...control];
/** Cgroups. */
export const badCgroups = ['/a/../b', '..', '/a b', '/a;b', '/a\nb', '/$(id)', huge];
/** Names of sysctls. */
export const badSysctls = [
  'kernel.core_pattern',
  'kernel.shmmax ',
  'vm.swappiness',
  'fs.file-max',
  'kernel.shm/../core_pattern',
  'net..ipv4',
  'net',
  'net.ipv4.ip_forward=1',
  '/proc/sys/kernel/core_pattern',
  '-w',
  ...control,
];
/** Values of sysctls. */
export const badSysctlValues = ['1+kernel.core_pattern=|/x', '1\n2', '$(id)', '|/bin/sh', 'a;b', '"', huge];
/** Numbers that no enum has. */
export const badEnums = [-1, 4, 99, 2_147_483_647];
/** Ports of containers. */
export const badPorts = [0, -1, 65_536, 2_147_483_647];
