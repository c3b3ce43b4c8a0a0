// What bulkreset is measured against: the SDK for JavaScript, so many calls at once. Takes FOLDER INPUT POOL ENDPOINT AT_ONCE,
// the SDK being installed in FOLDER.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, source, pool, endpoint, atOnce] = process.argv.slice(2);
const load = createRequire(`${folder}/`);
const { CognitoIdentityProviderClient, AdminSetUserPasswordCommand } = load("@aws-sdk/client-cognito-identity-provider");
const { NodeHttpHandler } = load("@smithy/node-http-handler");
const { Agent } = await import("node:http");

const rows = readFileSync(source, "utf8").trimEnd().split(/\r?\n/).slice(1).map((line) => line.split(","));
const httpAgent = new Agent({ keepAlive: true, maxSockets: Number(atOnce) });
const client = new CognitoIdentityProviderClient({ endpoint, requestHandler: new NodeHttpHandler({ httpAgent }) });

let next = 0;
let done = 0;
const worker = async () => {
  while (next < rows.length) {
    const [Username, Password] = rows[next++];
    await client.send(new AdminSetUserPasswordCommand({ UserPoolId: pool, Username, Password, Permanent: true }));
    done += 1;
  }
};
await Promise.all(Array.from({ length: Number(atOnce) }, worker));
process.stdout.write(`${JSON.stringify({ set: done })}\n`);
