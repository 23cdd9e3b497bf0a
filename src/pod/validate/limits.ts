/**
 * Caps on what a caller may send, by name. They lie far above what a kubelet sends, and
 * low enough that one request cannot fill memory or the records.
 */
export const limits = {
  /** Characters of a pod's or container's name, namespace and uid. */
  nameChars: 253,
  /** The kernel's longest host name (`__NEW_UTS_LEN`). */
  hostnameChars: 64,
  /** The kernel's longest path (`PATH_MAX`) without its NUL. */
  pathChars: 4095,
  imageChars: 1024,
  labelEntries: 1024,
  annotationEntries: 4096,
  mapKeyChars: 512,
  labelValueChars: 4096,
  annotationValueChars: 512 * 1024,
  /** Sum over keys and values of one map. */
  mapChars: 1024 * 1024,
  dnsEntries: 32,
  dnsChars: 253,
  portMappings: 1024,
  sysctls: 128,
  sysctlChars: 256,
  supplementalGroups: 1024,
  commandArguments: 16_384,
  /** Sum over all words of a command: the kernel's usual `ARG_MAX`. */
  commandChars: 2 * 1024 * 1024,
  envs: 8192,
  envBytes: 2 * 1024 * 1024,
  mounts: 1024,
  devices: 256,
  capabilities: 128,
  maskedPaths: 256,
  hugepageLimits: 16,
  unifiedEntries: 128,
  /** The largest uid or gid: above it lies what wraps to a negative or to none (CVE-2024-40635). */
  id: 2_147_483_647,
} as const;
