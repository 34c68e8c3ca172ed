// The stock SDK for Node.js, pointed at another host and not changed in any other way: says who customers are, then what
// they did, and prints the id of each message once it was delivered.
//
//     node tracking.mjs MODULES HOST WRITE_KEY MESSAGES
//
// Ends with status 0 when every message was delivered.

import { createRequire } from 'node:module'

const [modules, host, writeKey, messages] = process.argv.slice(2)
const { Analytics } = createRequire(`${modules}/`)('@segment/analytics-node')

const CUSTOMERS = 20
// Messages on their way at once.
const AT_ONCE = 400
// How long the SDK may take to get rid of what it holds.
const timeout = 300_000

const analytics = new Analytics({ host, writeKey })
const failed = []
const delivered = (error, context) =>
  error ? failed.push(error) : console.log(context.event.messageId)

for (let n = 0; n < CUSTOMERS; n++) {
  const traits = { kind: 'PHARMACIST', market: 'US', given_name: `Customer ${n}` }
  analytics.identify({ userId: `c-${n}`, anonymousId: `v-${n}`, traits }, delivered)
}
await analytics.flush({ timeout })

const does = [
  (n, who) => analytics.track({ ...who, event: 'Order Completed', properties: { total: n } }, delivered),
  (n, who) => analytics.page({ ...who, name: 'Home', properties: { number: n } }, delivered),
  (n, who) => analytics.screen({ ...who, name: 'Basket' }, delivered),
  (n, who) => analytics.group({ ...who, groupId: 'pharmacists' }, delivered),
]
for (let n = CUSTOMERS; n < Number(messages); n++) {
  const who = n % 3 ? { userId: `c-${n % CUSTOMERS}` } : { anonymousId: `v-${n % CUSTOMERS}` }
  does[n % does.length](n, who)
  if (n % AT_ONCE === 0) await analytics.flush({ timeout })
}
await analytics.closeAndFlush({ timeout })

if (failed.length) {
  console.error(failed)
  process.exitCode = 1
}
