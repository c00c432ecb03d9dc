/** A clock that the test turns: timers run in their order, and nothing waits for real. */
export class Clock {
  now = 0
  #timers = []
  #order = 0

  setTimeout = (run, ms) => {
    const timer = { at: this.now + Math.max(ms, 0), order: this.#order++, run }
    // Kept in order, newest last among equals.
    let low = 0
    let high = this.#timers.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#timers[middle].at <= timer.at) low = middle + 1
      else high = middle
    }
    this.#timers.splice(low, 0, timer)
    return timer
  }

  clearTimeout = (timer) => {
    const at = this.#timers.indexOf(timer)
    if (at >= 0) this.#timers.splice(at, 1)
  }

  sleep = (ms) => new Promise((resolve) => this.setTimeout(resolve, ms))

  /** Run until `until`, or until `done` says so; every promise that can settle does in between. */
  async run(until, done = () => false) {
    for (;;) {
      await new Promise(setImmediate)
      if (done()) return
      const timer = this.#timers[0]
      if (!timer || timer.at > until) break
      this.#timers.shift()
      this.now = Math.max(this.now, timer.at)
      timer.run()
    }
    this.now = Math.max(this.now, until)
  }
}

/** Small, fast, seeded (mulberry32). */
export function randomOf(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
