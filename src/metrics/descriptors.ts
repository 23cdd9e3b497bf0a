/**
 * The metrics that replace the kubelet's own /metrics/cadvisor (KEP-2371): names, labels and meaning
 * are cAdvisor's, since dashboards and alerts are written for them. All of them, or a kubelet falls
 * back to cAdvisor, which sees nothing of what runs in a virtual machine.
 *
 * @see https://github.com/google/cadvisor/blob/master/docs/storage/prometheus.md
 */

/** One metric: its labels come after those that every metric has. */
export interface Descriptor {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  /** Labels of its own. */
  readonly labels: readonly string[];
}

/** Labels that every metric has, in this order. */
export const commonLabels = ['id', 'name', 'image', 'container', 'pod', 'namespace'] as const;

type Row = readonly [name: string, labels: readonly string[], help: string];

const none: readonly string[] = [];
const device = ['device'];
const nic = ['interface'];

const counters: readonly Row[] = [
  ['blkio_device_usage_total', ['device', 'major', 'minor', 'operation'], 'Bytes that went to and from a device.'],
  ['cpu_cfs_periods_total', none, 'Elapsed periods of the CPU quota.'],
  ['cpu_cfs_throttled_periods_total', none, 'Periods in which the CPU quota was used up.'],
  ['cpu_cfs_throttled_seconds_total', none, 'Seconds for which tasks were held back by the CPU quota.'],
  ['cpu_system_seconds_total', none, 'CPU seconds spent in the kernel.'],
  ['cpu_usage_seconds_total', ['cpu'], 'CPU seconds spent.'],
  ['cpu_user_seconds_total', none, 'CPU seconds spent in user space.'],
  ['fs_reads_bytes_total', device, 'Bytes read.'],
  ['fs_reads_total', device, 'Reads completed.'],
  ['fs_writes_bytes_total', device, 'Bytes written.'],
  ['fs_writes_total', device, 'Writes completed.'],
  ['memory_failcnt', none, 'How often the memory limit was hit.'],
  ['memory_failures_total', ['failure_type', 'scope'], 'Page faults.'],
  ['network_receive_bytes_total', nic, 'Bytes received.'],
  ['network_receive_errors_total', nic, 'Errors while receiving.'],
  ['network_receive_packets_dropped_total', nic, 'Packets dropped while receiving.'],
  ['network_receive_packets_total', nic, 'Packets received.'],
  ['network_transmit_bytes_total', nic, 'Bytes sent.'],
  ['network_transmit_errors_total', nic, 'Errors while sending.'],
  ['network_transmit_packets_dropped_total', nic, 'Packets dropped while sending.'],
  ['network_transmit_packets_total', nic, 'Packets sent.'],
  ['oom_events_total', none, 'Processes that the kernel killed for want of memory.'],
  ['pressure_cpu_stalled_seconds_total', none, 'Seconds in which no task could go on for want of CPU.'],
  ['pressure_cpu_waiting_seconds_total', none, 'Seconds in which some task waited for CPU.'],
  ['pressure_io_stalled_seconds_total', none, 'Seconds in which no task could go on for want of I/O.'],
  ['pressure_io_waiting_seconds_total', none, 'Seconds in which some task waited for I/O.'],
  ['pressure_memory_stalled_seconds_total', none, 'Seconds in which no task could go on for want of memory.'],
  ['pressure_memory_waiting_seconds_total', none, 'Seconds in which some task waited for memory.'],
];

const gauges: readonly Row[] = [
  ['file_descriptors', none, 'Open file descriptors.'],
  ['fs_inodes_free', device, 'Free inodes of the file system.'],
  ['fs_inodes_total', device, 'Inodes of the file system.'],
  ['fs_limit_bytes', device, 'Size of the file system that the container writes to.'],
  ['fs_usage_bytes', device, 'Bytes that the container wrote beside its image.'],
  ['hugetlb_max_usage_bytes', ['pagesize'], 'Highest use of huge pages.'],
  ['hugetlb_usage_bytes', ['pagesize'], 'Use of huge pages.'],
  ['last_seen', none, 'When the container was last looked at, in seconds since the epoch.'],
  ['memory_cache', none, 'Bytes of page cache.'],
  ['memory_kernel_usage', none, 'Bytes of kernel memory.'],
  ['memory_mapped_file', none, 'Bytes of mapped files.'],
  ['memory_max_usage_bytes', none, 'Highest use of memory.'],
  ['memory_rss', none, 'Bytes of anonymous memory.'],
  ['memory_swap', none, 'Bytes of swap in use.'],
  ['memory_usage_bytes', none, 'Bytes of memory in use, page cache included.'],
  ['memory_working_set_bytes', none, 'Bytes of memory in use without page cache that was not used lately.'],
  ['processes', none, 'Processes.'],
  ['sockets', none, 'Open sockets.'],
  ['spec_cpu_period', none, 'Period of the CPU quota in microseconds.'],
  ['spec_cpu_quota', none, 'CPU quota in microseconds for a period; 0: none.'],
  ['spec_cpu_shares', none, 'CPU shares.'],
  ['spec_memory_limit_bytes', none, 'Memory limit; 0: none.'],
  ['spec_memory_reservation_limit_bytes', none, 'Memory that is kept for the container; 0: none.'],
  ['spec_memory_swap_limit_bytes', none, 'Limit of memory and swap together; 0: none.'],
  ['start_time_seconds', none, 'When the container was started, in seconds since the epoch.'],
  ['threads', none, 'Threads.'],
  ['threads_max', none, 'The most threads allowed; 0: no limit.'],
  ['ulimits_soft', ['ulimit'], 'Soft limits of the first process.'],
];

/** All of them, by name. */
export const descriptors: ReadonlyMap<string, Descriptor> = new Map([
  ...counters.map((row) => describe(row, 'counter')),
  ...gauges.map((row) => describe(row, 'gauge')),
]);

function describe([suffix, labels, help]: Row, type: Descriptor['type']): [string, Descriptor] {
  const name = `container_${suffix}`;
  return [name, { name, labels, help, type }];
}
