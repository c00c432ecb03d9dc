import { HEAD, checkComplete, isAhead } from './cursors.js'

/** @typedef {import('./types.js').Page & {reset?: any, error?: any}} Part one channel's answer */

/**
 * One pull: these channels from these cursors.
 *
 * @typedef {object} Ask
 * @property {Record<string, string>} cursors
 * @property {Record<string, number>} atleast the seqs that were hinted at
 * @property {string[]} wanted were known to be behind
 * @property {boolean} mine also what is the user's own
 */

/**
 * What an answer means.
 *
 * @typedef {{kind: 'messages', messages: import('./types.js').Message[], expiring?: import('./types.js').Page['expiring']}
 *   | {kind: 'reset', reset: import('./types.js').ResetInfo}
 *   | {kind: 'dropped', code: string, detail: string}
 *   | {kind: 'nothing'}} Outcome
 */

/** One live session's own channels: gone with it. */
export const SESSION = 'session:'
// The server takes so many cursors at once.
export const MOST_CHANNELS = 128

/**
 * How it goes over the wire.
 *
 * @param {Ask} ask
 * @param {{limit: number, wait: number, device?: string}} how `wait`: seconds that it may be held
 */
export function bodyOf({ cursors, atleast, mine }, { limit, wait, device }) {
  return {
    cursors, limit, ...(wait && { wait }), ...(mine && { mine }), ...(device && { device }),
    ...(Object.keys(atleast).length && { atleast })
  }
}

class Followed {
  /** @type {[string, number] | undefined} the newest position that was hinted at */
  hint
  /** It is being processed: it is not pulled meanwhile, for a pull says 'delivered'. */
  busy = false

  /** @param {string | undefined} cursor where the next pull begins; undefined: the server knows */
  constructor(cursor) {
    this.cursor = cursor
    // 'head' names no position until a pull fixes it; the others wait for a hint or a hello.
    this.want = cursor === undefined || cursor === HEAD
  }
}

/**
 * Which channels are followed from where, and which of them want a pull. No I/O and no clock.
 *
 * Two rules carry it: only an answer to a pull moves a cursor, never a hint; and a hint that is
 * ahead of the cursor, or of another epoch, wants a pull. A pull settles what was heard before
 * it was sent; what is heard while it is under way is compared with its answer.
 */
export class Following {
  /** @type {Map<string, Followed>} */
  #channels = new Map()

  /** @param {string} name @param {string} [cursor] */
  add(name, cursor) {
    this.#channels.set(name, new Followed(cursor))
  }

  /** @param {string} name */
  remove(name) {
    this.#channels.delete(name)
  }

  /** @param {string} name */
  has(name) {
    return this.#channels.has(name)
  }

  /** What belonged to an earlier session is gone with it. @param {string} session */
  enter(session) {
    for (const name of this.names) if (name.startsWith(SESSION) && name !== SESSION + session) this.remove(name)
  }

  get names() {
    return [...this.#channels.keys()]
  }

  /** @param {string} name */
  cursor(name) {
    return this.#channels.get(name)?.cursor
  }

  /** Whether any channel that may be pulled wants to be. */
  get behind() {
    return [...this.#channels.values()].some((each) => each.want && !each.busy)
  }

  /** Channels that only a pull without a cursor can begin. */
  get unplaced() {
    return [...this.#channels].filter(([, each]) => each.cursor === undefined).map(([name]) => name)
  }

  /**
   * A hint, or a head. True when the channel wants a pull by it.
   *
   * @param {string} name
   * @param {string} epoch
   * @param {number} seq
   */
  heard(name, epoch, seq) {
    const channel = this.#channels.get(name)
    if (!channel) return false
    // Within an epoch the highest counts; hints may be repeated and come out of order.
    const known = channel.hint
    if (!known || known[0] !== epoch || known[1] < seq) channel.hint = [epoch, seq]
    if (!isAhead(epoch, seq, channel.cursor)) return false
    channel.want = true
    return true
  }

  /** Nothing is known of these heads: a pull has to tell. @param {Iterable<string>} names */
  suspect(names) {
    for (const name of names) {
      const channel = this.#channels.get(name)
      if (channel) channel.want = true
    }
  }

  /** What was pulled is being processed, or no longer. @param {string} name @param {boolean} busy */
  setBusy(name, busy) {
    const channel = this.#channels.get(name)
    if (channel) channel.busy = busy
  }

  /**
   * The pull to send now; then `answered` for each channel, or `failed`.
   *
   * @param {boolean} everything or only what is behind
   * @param {boolean} mine
   * @returns {Ask}
   */
  begin(everything, mine) {
    /** @type {Ask} */
    const ask = { cursors: {}, atleast: {}, wanted: [], mine: mine && everything }
    let room = MOST_CHANNELS
    for (const [name, channel] of this.#channels) {
      if (channel.busy || channel.cursor === undefined) continue
      if (!(everything || channel.want) || room-- <= 0) continue
      if (channel.want) ask.wanted.push(name)
      const [epoch, seq] = channel.hint ?? []
      if (seq !== undefined && epoch === channel.cursor.split('.')[0]) ask.atleast[name] = seq
      ask.cursors[name] = channel.cursor
      channel.want = false
      channel.hint = undefined
      // The ones behind the first 128 have their turn next.
      this.#channels.delete(name)
      this.#channels.set(name, channel)
    }
    return ask
  }

  /** It brought no answer: what it was to fetch is still wanted. @param {Ask} ask */
  failed(ask) {
    this.suspect(ask.wanted)
  }

  /**
   * What one channel's answer means. Throws where going on would leave a silent hole.
   *
   * @param {string} name
   * @param {string | undefined} asked the cursor that was sent
   * @param {Part} part
   * @returns {Outcome}
   */
  answered(name, asked, part) {
    const channel = this.#channels.get(name)
    // An answer to a cursor that is no longer this channel's changes nothing.
    if (!channel || channel.busy || channel.cursor !== asked) return { kind: 'nothing' }
    if (part.error) return this.#refused(name, channel, part.error)
    if (part.reset) {
      channel.cursor = part.reset.resume
      channel.want = true
      return { kind: 'reset', reset: { channel: name, ...part.reset } }
    }
    checkComplete(name, asked, part)
    channel.cursor = part.next
    channel.want = part.more || (channel.hint ? isAhead(...channel.hint, part.next) : false)
    const messages = part.messages.map((stored) => ({
      ...stored, channel: name, epoch: part.epoch, cursor: `${part.epoch}.${stored.seq}`
    }))
    const { expiring } = part
    return messages.length || expiring ? { kind: 'messages', messages, expiring } : { kind: 'nothing' }
  }

  /**
   * @param {string} name
   * @param {Followed} channel
   * @param {{code: string, detail: string}} error
   * @returns {Outcome}
   */
  #refused(name, channel, error) {
    if (/^(forbidden|bad_request|not_found|unauthorized)$/.test(error.code)) {
      this.remove(name)
      return { kind: 'dropped', code: error.code, detail: error.detail }
    }
    channel.want = true
    return { kind: 'nothing' }
  }
}

