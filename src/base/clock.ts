/** Time as a collaborator, so that tests need not wait. */
export interface Clock {
  /** Wall clock in nanoseconds since the epoch, as CRI wants it. */
  wallNs(): bigint;
  /** Monotonic milliseconds with fractions, for durations only. */
  monotonicMs(): number;
}

/** The machine's clocks. */
export const systemClock: Clock = {
  wallNs: () => BigInt(Date.now()) * 1_000_000n,
  monotonicMs: () => performance.now(),
};
