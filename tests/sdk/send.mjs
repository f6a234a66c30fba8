// Sends the story of one visitor with each Node SDK; message ids are the same in every run.
import Rudder from "@rudderstack/rudder-sdk-node";
import { Analytics } from "@segment/analytics-node";

const { PEOPLE_URL: url, PEOPLE_BOOTSTRAP_KEY: key } = process.env;

function tell(name, client) {
  const userId = `${name}-user`;
  const anonymousId = `${name}-visitor`;
  const message = (kind) => ({ messageId: `${name}-${kind}` });
  client.page({ anonymousId, name: "Pricing", properties: { path: "/pricing" }, ...message("page") });
  client.identify({ userId, anonymousId, traits: { email: `${name}@example.com`, plan: "pro" }, ...message("identify") });
  client.group({ userId, groupId: "engines", traits: { size: 12 }, ...message("group") });
  client.alias({ userId, previousId: `${name}-before`, ...message("alias") });
  for (let n = 0; n < 1000; n += 1) {
    client.track({ userId, event: "order", properties: { n }, ...message(`order-${n}`) });
  }
}

const segment = new Analytics({ writeKey: key, host: url });
segment.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
tell("node-segment", segment);
await segment.closeAndFlush();

const rudder = new Rudder(key, { dataPlaneUrl: url, flushAt: 50 });
tell("node-rudder", rudder);
await rudder.flush();
