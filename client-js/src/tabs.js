import { sleep } from './env.js'

const BEAT_MS = 10_000
// Without a word from the leader for so long, a tab helps itself.
const SILENCE_MS = 35_000

/** @typedef {import('./types.js').Frame} Frame */

/**
 * What is shared between the pages of one browser: who holds the lock leads, and has the connection.
 *
 * @typedef {object} Sharing
 * @property {Pick<LockManager, 'request'>} locks
 * @property {new (name: string) => BroadcastChannel} BroadcastChannel
 */

/** The browser's; undefined where something is missing: then each page has its own connection. */
export function sharing() {
  const locks = globalThis.navigator?.locks
  const Channel = globalThis.BroadcastChannel
  return locks && Channel ? { locks, BroadcastChannel: Channel } : undefined
}

/**
 * Hints for all tabs over one connection. Only hints are shared: each tab pulls what it has not.
 *
 * The lock of the leader is released when its tab ends, however that happens, and the next one
 * takes over. A tab that helps itself leads without the lock, until one that has it is heard again.
 */
export class SharedHints {
  #id
  /** @type {BroadcastChannel | undefined} */
  #bus
  /** @type {import('./hints.js').Hints | undefined} of the leader, or of one who helps itself */
  #hints
  /** @type {Promise<void>} until its end */
  #running = Promise.resolve()
  #yield = () => {}
  #locked = false
  #heardAt
  /** @type {Map<string, {places: Record<string, string>, at: number}>} what the other tabs follow */
  #others = new Map()
  /** @type {{kind: string, frame: Frame} | undefined} the newest hello, with heads kept current */
  #live

  /**
   * @param {string} name of what is shared: server, user and device
   * @param {Sharing} shared
   * @param {import('./env.js').Env} env
   * @param {(listener: import('./hints.js').HintListener) => import('./hints.js').Hints} make
   * @param {import('./hints.js').HintListener} listener of this tab
   */
  constructor(name, shared, env, make, listener) {
    this.name = name
    this.shared = shared
    this.env = env
    this.make = make
    this.listener = listener
    this.#heardAt = env.now()
    this.#id = env.random().toString(36).slice(2)
  }

  /** @param {AbortSignal} closed */
  async run(closed) {
    this.#bus = new this.shared.BroadcastChannel(this.name)
    this.#bus.onmessage = ({ data }) => this.#hear(data)
    this.#want()
    const led = this.shared.locks
      .request(this.name, { signal: closed }, () => this.#lead(closed))
      .catch(() => {})
    await Promise.all([led, this.#follow(closed)])
    this.#bus.close()
  }

  /** @param {object} frame */
  send(frame) {
    return this.#hints?.send(frame) ?? false
  }

  wake() {
    this.#hints?.wake()
    this.#say({ wake: true })
  }

  /** Other channels are followed now. */
  changed() {
    if (this.#hints) this.#hints.changed()
    else this.#want()
  }

  /** This tab needs it no more; the others may. @param {string} name */
  dropped(name) {
    if (!this.#hints) this.#want()
    else if (!(name in this.#allPlaces())) this.#hints.dropped(name)
  }

  /** The lock is ours, for as long as this lasts. @param {AbortSignal} closed */
  async #lead(closed) {
    this.#locked = true
    // Who has helped itself goes on with what it has.
    if (this.#hints) this.#say(this.#claim())
    else this.#own(closed)
    await this.#running
  }

  /** Have a connection of one's own. @param {AbortSignal} closed */
  #own(closed) {
    const over = new AbortController()
    const end = () => over.abort()
    closed.addEventListener('abort', end)
    this.#yield = end
    this.#hints = this.make({
      places: () => this.#allPlaces(),
      onFrame: (frame, kind) => this.#onFrame(frame, kind),
      onLost: (reason, wasLive) => {
        this.#live = undefined
        this.#say({ lost: reason, wasLive })
        this.listener.onLost(reason, wasLive)
      },
      onFinal: (error) => {
        this.#say({ final: { code: error.code, message: error.message } })
        this.listener.onFinal(error)
      }
    })
    this.#say(this.#claim())
    this.#running = this.#hints.run(over.signal)
      .catch((error) => this.listener.onFinal(error))
      .finally(() => closed.removeEventListener('abort', end))
  }

  #claim() {
    return { leads: this.#id, locked: this.#locked }
  }

  /** Another one leads: be one of the others again. @param {{leads: string, locked: boolean}} claim */
  #giveWay({ leads, locked }) {
    if (this.#locked) return this.#say(this.#claim())
    // Of two that help themselves one is enough.
    if (!locked && leads > this.#id) return
    this.#hints = this.#live = undefined
    this.#heardAt = this.env.now()
    this.#yield()
    this.listener.onLost('another page leads', true)
    this.#want()
  }

  /** @param {AbortSignal} closed */
  async #follow(closed) {
    while (!closed.aborted) {
      await sleep(this.env, BEAT_MS, closed)
      if (closed.aborted) break
      if (this.#hints) {
        this.#say(this.#claim())
        const oldest = this.env.now() - SILENCE_MS
        for (const [id, other] of this.#others) if (other.at < oldest) this.#others.delete(id)
      } else if (this.env.now() - this.#heardAt > SILENCE_MS) {
        // A leader that is frozen, or a lock that somebody else holds.
        this.#own(closed)
      } else this.#want()
    }
    this.#say({ gone: this.#id })
  }

  // -- the leader ----------------------------------------------------------------------------------

  #allPlaces() {
    const others = [...this.#others.values()].map(({ places }) => places)
    return Object.assign({}, ...others, this.listener.places())
  }

  /** @param {Frame} frame @param {string} kind */
  #onFrame(frame, kind) {
    if (frame.type === 'hello') this.#live = { kind, frame: { ...frame, heads: { ...frame.heads } } }
    const heads = this.#live?.frame.heads
    if (heads && frame.type === 'subscribed') Object.assign(heads, frame.heads)
    if (heads && frame.type === 'hint' && frame.channel) {
      const { epoch = '', seq = 0 } = frame
      heads[frame.channel] = { first: 1, delivered: null, read: null, ...heads[frame.channel], epoch, head: seq }
    }
    this.#say({ frame, kind })
    this.listener.onFrame(frame, kind)
  }

  // -- between tabs ----------------------------------------------------------------------------------

  #want() {
    this.#say({ wants: this.#id, places: this.listener.places() })
  }

  /** @param {object} message */
  #say(message) {
    try {
      this.#bus?.postMessage(message)
    } catch {
      // Closed meanwhile.
    }
  }

  /** @param {any} message */
  #hear(message) {
    if (this.#hints) this.#serve(message)
    else this.#obey(message)
  }

  /** As the one that has the connection. @param {any} message */
  #serve(message) {
    if (message.wants) {
      this.#others.set(message.wants, { places: message.places, at: this.env.now() })
      if (this.#live) this.#say({ to: message.wants, frame: this.#live.frame, kind: this.#live.kind })
      this.#hints?.changed()
    } else if (message.leads) this.#giveWay(message)
    else if (message.gone) this.#others.delete(message.gone)
    else if (message.wake) this.#hints?.wake()
  }

  /** As one of the others. @param {any} message */
  #obey(message) {
    if (message.wants || message.gone || message.wake) return
    this.#heardAt = this.env.now()
    if (message.to && message.to !== this.#id) return
    if (message.leads && !this.#greeted) this.#want()
    this.#greeted = this.#greeted || 'leads' in message
    if (message.frame) this.listener.onFrame(message.frame, message.kind)
    else if ('lost' in message) this.listener.onLost(message.lost, message.wasLive)
    else if (message.final) this.listener.onFinal(Object.assign(new Error(message.final.message), message.final))
  }

  #greeted = false
}
