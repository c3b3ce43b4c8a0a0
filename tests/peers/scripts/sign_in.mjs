// Signs users in with amazon-cognito-identity-js. Takes the folder of node_modules; JSON on standard input and output.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { AuthenticationDetails, CognitoUser, CognitoUserPool } = createRequire(process.argv[2] + "/")(
  "amazon-cognito-identity-js",
);
const asked = JSON.parse(readFileSync(0, "utf8"));
const pool = new CognitoUserPool({ UserPoolId: asked.pool, ClientId: asked.client, endpoint: asked.url });

const signIn = ([Username, Password, next]) =>
  new Promise((resolve) => {
    const user = new CognitoUser({ Username, Pool: pool });
    if (!asked.srp) user.setAuthenticationFlowType("USER_PASSWORD_AUTH");
    const handlers = {
      onSuccess: (session) => resolve(session.getAccessToken().getJwtToken() ? "signed in" : "no token"),
      onFailure: (error) => resolve(error.code ?? error.name),
      newPasswordRequired: () =>
        next ? user.completeNewPasswordChallenge(next, {}, handlers) : resolve("new password required"),
    };
    user.authenticateUser(new AuthenticationDetails({ Username, Password }), handlers);
  });

const results = [];
for (const one of asked.users) results.push(await signIn(one));
console.log(JSON.stringify(results));
