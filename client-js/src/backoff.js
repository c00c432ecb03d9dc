/** Full-jitter exponential backoff; `Retry-After` of a server is obeyed, with jitter on top. */
export class Backoff {
  #tries = 0

  /**
   * @param {() => number} random
   * @param {number} [firstMs]
   * @param {number} [mostMs]
   */
  constructor(random, firstMs = 1000, mostMs = 30_000) {
    this.random = random
    this.firstMs = firstMs
    this.mostMs = mostMs
  }

  reset() {
    this.#tries = 0
  }

  /**
   * Milliseconds to wait now; a little at least, so that nothing ever spins.
   *
   * @param {number} [atLeastMs] what the server asked for
   */
  next(atLeastMs = 0) {
    const ceiling = Math.min(this.mostMs, this.firstMs * 2 ** this.#tries)
    this.#tries = Math.min(this.#tries + 1, 20)
    return atLeastMs + Math.max(this.random() * ceiling, this.firstMs / 20)
  }
}
