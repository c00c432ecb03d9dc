import { PushError } from './errors.js'

/** @typedef {{epoch: string, seq: number}} Position */

/** From the start of what is kept; from now on. Neither names a position. */
export const START = '0'
export const HEAD = 'head'
const NONE = 'none' // the epoch of a channel that was never written to

/**
 * @param {string} text `EPOCH.SEQ`
 * @returns {Position}
 */
export function position(text) {
  const dot = text.indexOf('.')
  const seq = Number(text.slice(dot + 1))
  if (dot < 1 || !Number.isSafeInteger(seq) || seq < 0) {
    throw new PushError('bad_answer', `"${text}" is no cursor`)
  }
  return { epoch: text.slice(0, dot), seq }
}

/**
 * Whether a pull from `cursor` could bring something, as far as this position tells.
 *
 * @param {string} epoch
 * @param {number} seq
 * @param {string | undefined} cursor undefined: only the server knows
 */
export function isAhead(epoch, seq, cursor) {
  if (cursor === undefined || cursor === HEAD) return true
  if (cursor === START) return seq > 0
  const at = position(cursor)
  // Never written to when the cursor was given, and still not: nothing to fetch.
  if (epoch !== at.epoch) return !(at.epoch === NONE && seq === 0)
  return seq > at.seq
}

/**
 * Whether a mark at `cursor` says more than one at `known`.
 *
 * @param {string} cursor
 * @param {string | undefined} known
 */
export function isBeyond(cursor, known) {
  if (known === undefined) return true
  const { epoch, seq } = position(cursor)
  const at = position(known)
  return epoch !== at.epoch || seq > at.seq
}

/**
 * Messages follow the cursor and each other without a hole, and `next` is after the last.
 * Going on would leave a silent hole otherwise.
 *
 * @param {string} name
 * @param {string | undefined} before
 * @param {import('./types.js').Page} page
 */
export function checkComplete(name, before, page) {
  const next = position(page.next)
  const count = page.messages.length
  const first = page.messages[0]?.seq
  let start = first ?? next.seq + 1
  if (before !== undefined && before !== START && before !== HEAD) {
    const at = position(before)
    start = at.seq + 1
    if (at.epoch !== NONE && at.epoch !== page.epoch) start = NaN
  }
  const whole = page.messages.every((message, at) => message.seq === start + at)
  if (!whole || next.epoch !== page.epoch || next.seq !== start + count - 1) {
    throw new PushError('bad_answer', `The answer for "${name}" leaves a hole after ${before}`)
  }
}
