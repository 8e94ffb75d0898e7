package jupyterserver.admission_test

test_token_required[note] if {
	secret := {"name": "JUPYTER_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
	some note, case in {
		"as rendered": {"env": [secret], "words": [], "want": set()},
		"no variable": {"env": [], "words": [], "want": {"spec.patches"}},
		"literal value": {"env": [{"name": "JUPYTER_TOKEN", "value": ""}], "words": [], "want": {"spec.patches"}},
		"twice": {"env": [secret, secret], "words": [], "want": {"spec.patches"}},
		"argument": {"env": [secret], "words": ["--IdentityProvider.token="], "want": {"spec.patches"}},
		"in a shell": {"env": [secret], "words": ["sh", "-c", "jupyter lab --ServerApp.token ''"], "want": {"spec.patches"}},
		"another word": {"env": [secret], "words": ["--Tokenizer.tokens=1"], "want": set()},
	}
	changes := [add(sprintf("%s/env", [container_path]), case.env), add(sprintf("%s/command", [container_path]), case.words)]
	paths("auth-none", token_server, changes) == case.want
}

oidc_auth := {"mode": "oidc", "oidc": {
	"issuerUrl": "http://id.example.org",
	"allow": {"anyAuthenticated": true},
	"clientSecret": {"value": "hidden"},
}}

test_oidc_of_the_spec[id] if {
	some id, want in {
		"auth-issuers": {"spec.auth.oidc.issuerUrl"},
		"auth-issuers-https": {"spec.auth.oidc.issuerUrl"},
		"auth-any-authenticated": {"spec.auth.oidc.allow.anyAuthenticated"},
		"inline-secrets": {"spec.auth.oidc.clientSecret.value"},
	}
	changes := [add("/object/spec/auth", oidc_auth), set("auth-issuers", {"allowed": ["https://id.example.org"]})]
	paths(id, token_server, changes) == want
}

test_token_of_the_spec if {
	changes := [add("/object/spec/auth/token", {"value": "short"})]
	paths("inline-secrets", token_server, changes) == {"spec.auth.token.value"}
	paths("token-length", token_server, changes) == {"spec.auth.token.value"}
	paths("token-length", token_server, [add("/object/spec/auth/token", {"value": "0123456789abcdef"})]) == set()
}
