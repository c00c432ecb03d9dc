// A session that lasted this long says that the transport gets through.
const STABLE_MS = 30_000
// So many short ones in a row say that something between does not let it be.
const SHORT_ONES = 3
const CLIMB_MS = 30_000
const CLIMB_CAP_MS = 600_000

/** @typedef {'websocket' | 'sse'} Transport */

/**
 * Which transport brings the hints; without one, held polls do it all.
 *
 * One rung down when a transport does not get through or does not last; back to the top when
 * nothing works, and by a probe from time to time while a lower rung holds.
 */
export class Ladder {
  #at = 0
  #climbs = 0
  /** @type {Map<Transport, number>} */
  #short = new Map()

  /**
   * @param {readonly Transport[]} kinds best first
   * @param {() => number} random
   */
  constructor(kinds, random) {
    this.kinds = kinds
    this.random = random
  }

  /** What to try. */
  get now() {
    return this.kinds[this.#at]
  }

  /** What to probe for while `now` holds. */
  get above() {
    return this.#at ? this.kinds[this.#at - 1] : undefined
  }

  /** Milliseconds until the next probe: each in vain makes it rarer. */
  climbIn() {
    const ceiling = Math.min(CLIMB_CAP_MS, CLIMB_MS * 2 ** Math.min(this.#climbs++, 10))
    return ceiling * (0.5 + this.random() / 2)
  }

  /** The probe got through. */
  climb() {
    this.#at -= 1
  }

  /**
   * An attempt or session is over. True when `now` is another one, to be tried at once.
   *
   * @param {Transport} kind
   * @param {{livedMs?: number, blocked: boolean, orderly: boolean}} end `livedMs` since its hello;
   *   `blocked`: something answered, so another may do better; `orderly`: the server said goodbye
   */
  ended(kind, { livedMs, blocked, orderly }) {
    if (livedMs === undefined) return blocked ? this.#down() : this.#top()
    if (livedMs >= STABLE_MS) {
      this.#short.set(kind, 0)
      if (kind === this.kinds[0]) this.#climbs = 0
    } else if (!orderly) {
      const short = (this.#short.get(kind) ?? 0) + 1
      // One more short one is enough after the next climb.
      this.#short.set(kind, Math.min(short, SHORT_ONES - 1))
      if (short >= SHORT_ONES) return this.#down()
    }
    return false
  }

  #down() {
    if (this.#at + 1 < this.kinds.length) {
      this.#at += 1
      return true
    }
    return this.#top()
  }

  #top() {
    this.#at = 0
    return false
  }
}
