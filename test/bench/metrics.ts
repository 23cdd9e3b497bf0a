/** The metrics with their targets: the rows of the report, in its order. */

import { volumeMetrics } from './volume-metrics.ts';

/** How a metric is judged. */
export type Judge =
  /** Median of husk over median of the peer. */
  | { readonly kind: 'ratio'; readonly peer: string; readonly better: 'lower' | 'higher' }
  /** Median of husk itself. */
  | { readonly kind: 'value'; readonly peer: string; readonly better: 'lower' | 'higher' };

export interface Metric {
  readonly id: string;
  readonly title: string;
  readonly unit: 'ms' | 'pods/s' | 'MB' | '%' | '×' | 's' | 'KiB/s' | 'MB/s' | 'op/s';
  readonly judge: Judge;
  readonly target?: number;
  readonly stretch?: number;
}

const peer = 'containerd';
const ratio: Judge = { kind: 'ratio', peer, better: 'lower' };
const value: Judge = { kind: 'value', peer, better: 'lower' };

/** README.md of this folder defines each of them. */
export const metrics: readonly Metric[] = [
  {
    id: 'clone',
    title: 'clone to first gRPC answer, against own cold boot',
    unit: 'ms',
    judge: { kind: 'ratio', peer: 'cold boot', better: 'lower' },
    target: 1 / 40,
    stretch: 1 / 60,
  },
  { id: 'run', title: 'RunPodSandbox', unit: 'ms', judge: ratio, target: 2.5, stretch: 1.5 },
  { id: 'create', title: 'CreateContainer', unit: 'ms', judge: ratio },
  { id: 'start', title: 'StartContainer', unit: 'ms', judge: ratio },
  {
    id: 'ready',
    title: 'VM pod ready (Run + Create + Start), first-seen image',
    unit: 'ms',
    judge: ratio,
    target: 6,
    stretch: 3,
  },
  { id: 'tti', title: 'pod asked for to first ExecSync output', unit: 'ms', judge: ratio },
  { id: 'native-ready', title: 'native pod ready', unit: 'ms', judge: ratio, target: 0.8, stretch: 0.5 },
  { id: 'exec-first', title: 'first ExecSync `true` of a pod', unit: 'ms', judge: ratio },
  { id: 'exec', title: 'ExecSync `true`', unit: 'ms', judge: ratio, target: 4, stretch: 1.5 },
  {
    id: 'stop-remove',
    title: 'StopPodSandbox + RemovePodSandbox',
    unit: 'ms',
    judge: ratio,
    target: 0.5,
    stretch: 0.2,
  },
  { id: 'stop', title: 'StopPodSandbox', unit: 'ms', judge: ratio },
  { id: 'remove', title: 'RemovePodSandbox', unit: 'ms', judge: ratio },
  {
    id: 'burst',
    title: 'pods at once, pods per second',
    unit: 'pods/s',
    judge: { kind: 'ratio', peer, better: 'higher' },
    target: 0.5,
    stretch: 1,
  },
  { id: 'scale', title: 'p50 of the last pods against the first', unit: '×', judge: value, target: 1.05, stretch: 1 },
  {
    id: 'memory',
    title: 'memory for each further pod (MemAvailable)',
    unit: 'MB',
    judge: value,
    target: 60,
    stretch: 30,
  },
  { id: 'footprint', title: 'daemon and helpers at all pods, RSS', unit: 'MB', judge: ratio, target: 1, stretch: 0.5 },
  { id: 'footprint-pss', title: 'daemon and helpers at all pods, PSS', unit: 'MB', judge: ratio },
  {
    id: 'idle',
    title: 'idle pod, share of a core, all host processes',
    unit: '%',
    judge: value,
    target: 0.4,
    stretch: 0.3,
  },
  {
    id: 'pull',
    title: 'pull of the big image, verified and mountable',
    unit: 's',
    judge: ratio,
    target: 1,
    stretch: 0.7,
  },
  { id: 'pull-shared', title: 'pull of an image that shares all layers but one', unit: 's', judge: ratio },
  ...(['native', 'vm'] as const).flatMap((kind): Metric[] => [
    { id: `${kind}-first-byte`, title: `exec in a ${kind} pod to its first byte`, unit: 'ms', judge: ratio },
    {
      id: `${kind}-stdout`,
      title: `stdout of an exec in a ${kind} pod`,
      unit: 'MB/s',
      judge: { kind: 'ratio', peer, better: 'higher' },
      target: kind === 'native' ? 1 : 0.25,
      stretch: kind === 'native' ? 1.5 : 0.5,
    },
    {
      id: `${kind}-forward`,
      title: `port-forward to a ${kind} pod, each way at once`,
      unit: 'MB/s',
      judge: { kind: 'ratio', peer, better: 'higher' },
      target: kind === 'native' ? 1 : 0.25,
      stretch: kind === 'native' ? 1.5 : 0.5,
    },
    {
      id: `${kind}-stream-memory`,
      title: `growth of the streaming server, slow readers of a ${kind} pod too`,
      unit: 'MB',
      judge: value,
      target: 64,
      stretch: 32,
    },
  ]),
  { id: 'list-pods', title: 'ListPodSandbox at all pods', unit: 'ms', judge: ratio, target: 1, stretch: 0.5 },
  { id: 'list-containers', title: 'ListContainers at all pods', unit: 'ms', judge: ratio, target: 1, stretch: 0.5 },
  { id: 'pod-status', title: 'PodSandboxStatus at all pods', unit: 'ms', judge: ratio, target: 1, stretch: 0.5 },
  { id: 'container-status', title: 'ContainerStatus at all pods', unit: 'ms', judge: ratio, target: 1, stretch: 0.5 },
  { id: 'pod-stats', title: 'ListPodSandboxStats at all pods', unit: 'ms', judge: ratio, target: 1, stretch: 0.5 },
  { id: 'container-stats', title: 'ListContainerStats at all pods', unit: 'ms', judge: ratio, target: 1, stretch: 0.5 },
  {
    id: 'loop',
    title: 'event-loop delay p99 of huskd while pods start',
    unit: 'ms',
    judge: value,
    target: 20,
    stretch: 10,
  },
  { id: 'exec-at-scale', title: 'ExecSync `true` in every one of the live pods', unit: 'ms', judge: ratio },
  ...['CreatePod', 'StopPod', 'RemovePod', 'CreateContainer', 'StartContainer', 'StopContainer', 'RemoveContainer'].map(
    (operation): Metric => ({
      id: `critest-${operation}`,
      title: `critest -benchmark: ${operation}`,
      unit: 'ms',
      judge: ratio,
    }),
  ),
  ...volumeMetrics,
  { id: 'vm-cpu', title: 'CPU time of a VM process until its pod is ready', unit: 'ms', judge: value },
];
