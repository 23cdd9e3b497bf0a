/** What this process uses, under the names that Prometheus' own client libraries give. */
import { readdirSync } from 'node:fs';
import type { MetricFamily } from './exposition.ts';

export function processFamilies(): MetricFamily[] {
  const { userCPUTime, systemCPUTime } = process.resourceUsage();
  const one = (name: string, help: string, type: 'counter' | 'gauge', value: number): MetricFamily => ({
    name,
    help,
    type,
    samples: [{ value }],
  });
  const cpu = (userCPUTime + systemCPUTime) / 1e6;
  const { rss, heapUsed } = process.memoryUsage();
  return [
    one('process_cpu_seconds_total', 'CPU time of this process.', 'counter', cpu),
    one('process_resident_memory_bytes', 'Resident memory of this process.', 'gauge', rss),
    one('nodejs_heap_size_used_bytes', 'JavaScript heap in use.', 'gauge', heapUsed),
    one('process_open_fds', 'Open descriptors.', 'gauge', readdirSync('/proc/self/fd').length),
    one('process_uptime_seconds', 'Since this process started.', 'gauge', process.uptime()),
  ];
}
