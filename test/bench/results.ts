/** What a run measured: the raw JSON that everything else is made from. */
import { readFile } from 'node:fs/promises';
import { HuskError } from '../../src/base/errors.ts';
import type { CallTrace } from '../../src/metrics/pod-traces.ts';
import type { TimelineStep } from '../../src/pod/records.ts';
import type { Conditions } from './conditions.ts';

export const resultsVersion = 1;

/** One pod of the series with many live pods. */
export interface ScalePoint {
  readonly subject: string;
  /** How many pods of the subject live once this one does. */
  readonly live: number;
  readonly readyMs: number;
  /** MemAvailable of the machine once the pod is ready and things have settled. */
  readonly availableBytes: number;
}

export interface PodTimeline {
  readonly subject: string;
  readonly steps: readonly TimelineStep[];
}

/** What huskd itself tells of one pod's calls. */
export interface PodTrace {
  readonly podId: string;
  /** RunPodSandbox, CreateContainer and StartContainer as the client saw them, in milliseconds. */
  readonly readyMs: number;
  readonly calls: readonly CallTrace[];
}

export interface Results {
  readonly version: typeof resultsVersion;
  readonly plan: string;
  readonly startedAt: string;
  readonly conditions: Conditions;
  /** Why the figures count for nothing; empty: they count. */
  readonly invalid: readonly string[];
  /** Metric, then subject, then every sample in the order taken. */
  readonly samples: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
  readonly scale: readonly ScalePoint[];
  readonly timelines: readonly PodTimeline[];
  /** One of each pod that counted; the report shows the one in the middle. */
  readonly traces: readonly PodTrace[];
  /** What could not be measured, by metric. */
  readonly missing: Readonly<Record<string, string>>;
  /** How long each section took, in seconds. */
  readonly seconds: Readonly<Record<string, number>>;
  /** Where time or memory of a metric goes, as text by metric; the report shows it for those that miss their target. */
  readonly explanations: Readonly<Record<string, string>>;
}

/** Collects while a run goes on. */
export class Recorder {
  readonly samples: Record<string, Record<string, number[]>> = {};
  readonly scale: ScalePoint[] = [];
  readonly timelines: PodTimeline[] = [];
  readonly traces: PodTrace[] = [];
  readonly missing: Record<string, string> = {};
  readonly seconds: Record<string, number> = {};
  readonly explanations: Record<string, string> = {};

  add(metric: string, subject: string, value: number): void {
    ((this.samples[metric] ??= {})[subject] ??= []).push(value);
  }

  /** Says where a metric goes, for those who find it too large. */
  explain(metric: string, text: string): void {
    this.explanations[metric] = text;
  }

  miss(metric: string, why: string): void {
    this.missing[metric] = why;
  }
}

/** Reads results back. @throws HuskError `invalid-argument` */
export async function readResults(path: string): Promise<Results> {
  const parsed: unknown = JSON.parse(await readFile(path, 'utf8'));
  if (isResults(parsed)) return parsed;
  throw new HuskError('invalid-argument', `results "${path}": not results of this version (${resultsVersion})`);
}

/** Several runs of parts as one: samples come together, and every reason to doubt stays. */
export function mergeResults(parts: readonly Results[]): Results {
  const [first] = parts;
  if (first === undefined) throw new HuskError('invalid-argument', 'merge results: there are none');
  const samples: Record<string, Record<string, number[]>> = {};
  for (const part of parts) {
    for (const [metric, subjects] of Object.entries(part.samples)) {
      for (const [subject, values] of Object.entries(subjects)) {
        ((samples[metric] ??= {})[subject] ??= []).push(...values);
      }
    }
  }
  const missing = Object.assign({}, ...parts.map((part) => part.missing)) as Record<string, string>;
  return {
    ...first,
    samples,
    missing: Object.fromEntries(Object.entries(missing).filter(([metric]) => samples[metric] === undefined)),
    invalid: [...new Set(parts.flatMap(({ invalid }) => invalid))],
    scale: parts.find(({ scale }) => scale.length > 0)?.scale ?? [],
    timelines: parts.flatMap(({ timelines }) => timelines),
    traces: parts.flatMap(({ traces }) => traces),
    seconds: Object.assign({}, ...parts.map(({ seconds }) => seconds)) as Record<string, number>,
    explanations: Object.assign({}, ...parts.map(({ explanations }) => explanations)) as Record<string, string>,
    conditions: { ...first.conditions, load: parts.flatMap(({ conditions }) => conditions.load) },
  };
}

/** The trace of the pod whose start took as long as half of them: not the best one. */
export function middleTrace(traces: readonly PodTrace[]): PodTrace | undefined {
  return traces.toSorted((a, b) => a.readyMs - b.readyMs)[Math.floor(traces.length / 2)];
}

function isResults(value: unknown): value is Results {
  if (typeof value !== 'object' || value === null) return false;
  const { version, samples, conditions }: Partial<Record<keyof Results, unknown>> = value;
  return version === resultsVersion && typeof samples === 'object' && typeof conditions === 'object';
}
