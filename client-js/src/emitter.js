/**
 * Handlers by event.
 *
 * @template {Record<string, any>} Events event to what its handlers are given
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(value: any) => unknown>>} */
  #handlers = new Map()

  /**
   * Call `handler` with each from now on, until the function that is returned, or `signal`, ends it.
   *
   * @template {keyof Events} K
   * @param {K} event
   * @param {(value: Events[K]) => unknown} handler
   * @param {{signal?: AbortSignal}} [options]
   * @returns {() => void}
   */
  on(event, handler, { signal } = {}) {
    const handlers = this.#handlers.get(event) ?? new Set()
    this.#handlers.set(event, handlers.add(handler))
    const off = () => {
      signal?.removeEventListener('abort', off)
      if (handlers.delete(handler)) this.changed(event)
    }
    if (signal?.aborted) off()
    else signal?.addEventListener('abort', off)
    this.changed(event)
    return off
  }

  /** @param {keyof Events} event @returns {((value: any) => unknown)[]} */
  handlers(event) {
    return [...(this.#handlers.get(event) ?? [])]
  }

  /**
   * Tell everybody; what one throws is its own. False when nobody listens.
   *
   * @template {keyof Events} K
   * @param {K} event
   * @param {Events[K]} value
   */
  emit(event, value) {
    const handlers = this.handlers(event)
    for (const handler of handlers) {
      // As an exception of an event listener: on the console, and to nobody's harm.
      Promise.resolve().then(() => handler(value)).catch(report)
    }
    return handlers.length > 0
  }

  /** Handlers came or went. @param {keyof Events} _event */
  changed(_event) {}
}

/** @param {unknown} error */
export function report(error) {
  if (typeof globalThis.reportError === 'function') globalThis.reportError(error)
  else console.error(error)
}
