// Encrypts or decrypts with the npm package age-encryption: FOLDER encrypt RECIPIENT | decrypt IDENTITY | key, IN to OUT.
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, what, key, source, target] = process.argv.slice(2);
const age = await import(pathToFileURL(`${folder}/node_modules/age-encryption/dist/index.js`));
if (what === "key") {
  const identity = await age.generateX25519Identity();
  console.log(JSON.stringify([identity, await age.identityToRecipient(identity)]));
} else if (what === "encrypt") {
  const encrypter = new age.Encrypter();
  encrypter.addRecipient(key);
  writeFileSync(target, await encrypter.encrypt(readFileSync(source)));
} else {
  const decrypter = new age.Decrypter();
  decrypter.addIdentity(key);
  writeFileSync(target, await decrypter.decrypt(readFileSync(source)));
}
