// An OpenID Connect provider on the loopback, for tests only.
//   node provider.mjs <port> <client id> <client secret> <redirect address> <tenant>
// Whoever types a name is that person: the subject, `name` and `preferred_username` are what was typed.
import { createRequire } from "node:module";

const [port, clientId, clientSecret, redirectAddress, tenant] = process.argv.slice(2);
const require = createRequire(`${process.env.MLHUB_TEST_NODE_MODULES}/`);
const { default: Provider } = await import(require.resolve("oidc-provider"));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectAddress], token_endpoint_auth_method: "client_secret_post" }],
  // The paths of Azure's endpoints, which the class for Azure derives from the tenant.
  routes: { authorization: `/${tenant}/oauth2/authorize`, token: `/${tenant}/oauth2/token`, userinfo: "/userinfo" },
  pkce: { required: () => false },
  conformIdTokenClaims: false,
  claims: { openid: ["sub", "name", "preferred_username"] },
  cookies: { keys: ["only for tests"] },
  features: { devInteractions: { enabled: true } },
  async findAccount(_context, id) {
    return { accountId: id, claims: async () => ({ sub: id, name: id, preferred_username: id }) };
  },
});

provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
