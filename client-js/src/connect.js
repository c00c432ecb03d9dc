import { Client } from './client.js'

/** @typedef {import('./options.js').Options} Options */

/** @type {{base: string, options: Options, client: Client}[]} connecting twice is one connection */
const clients = []

/**
 * A client of the pushd at `url`. The same address and options again are the same client, until
 * it is closed.
 *
 * @param {string} url such as `https://push.example.com`
 * @param {Options} [options]
 */
export function connect(url, options = {}) {
  const base = url.replace(/\/+$/, '')
  const known = clients.find((each) => each.base === base && alike(each.options, options))
  if (known) return known.client
  const made = { base, options, client: new Client(base, options) }
  clients.push(made)
  made.client.closed.addEventListener('abort', () => clients.splice(clients.indexOf(made), 1))
  return made.client
}

/** @param {Record<string, any>} one @param {Record<string, any>} other */
function alike(one, other) {
  return Object.keys({ ...one, ...other }).every((key) => one[key] === other[key])
}
