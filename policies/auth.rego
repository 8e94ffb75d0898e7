package jupyterserver.admission

# METADATA
# title: Nobody is let in unasked
# description: The mode none lets in everybody who reaches the URL.
# custom:
#   id: auth-none
#   severity: deny
#   remediation: Set spec.auth.mode to token or oidc.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.mode", message) if {
	input.object.spec.auth.mode == "none"
	settings["auth-none"].allow == false
	message := "the mode none lets in everybody who can reach the server, which is not allowed here: allowed are token and oidc"
}

# METADATA
# title: The token is asked for
# description: With the mode token, Jupyter is given the token of a Secret, and nothing in the rendered pod takes it away again.
# custom:
#   id: auth-none
#   severity: deny
#   remediation: Take out of spec.patches what changes the token of the container jupyter.
verdicts contains verdict(rego.metadata.rule(), "spec.patches", message) if {
	input.object.spec.auth.mode == "token"
	settings["auth-none"].allow == false
	not token_is_asked_for
	message := "no container jupyter is given its token by JUPYTER_TOKEN of a Secret, so that everybody would be let in; allowed are token and oidc"
}

# METADATA
# title: Issuers are allowed ones
# description: An empty list allows any.
# custom:
#   id: auth-issuers
#   severity: deny
#   remediation: Set spec.auth.oidc.issuerUrl to an allowed provider.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.oidc.issuerUrl", message) if {
	allowed := settings["auth-issuers"].allowed
	count(allowed) > 0
	found := server.spec.auth.oidc.issuerUrl
	not found in allowed
	message := sprintf("the issuer is %s, but allowed are: %s", [found, listed(allowed)])
}

# METADATA
# title: Issuers are asked over TLS
# description: Without it, whoever is on the way can sign in as anybody.
# custom:
#   id: auth-issuers-https
#   severity: warn
#   remediation: Use the https URL of the provider in spec.auth.oidc.issuerUrl.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.oidc.issuerUrl", message) if {
	settings["auth-issuers-https"]
	found := server.spec.auth.oidc.issuerUrl
	not startswith(found, "https://")
	message := sprintf("the issuer %s is asked without TLS, but only https is safe", [found])
}

# METADATA
# title: It is said who may enter
# description: Everybody who can sign in may be the whole world, at a public provider.
# custom:
#   id: auth-any-authenticated
#   severity: warn
#   remediation: Name users, emails or groups in spec.auth.oidc.allow.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.oidc.allow.anyAuthenticated", message) if {
	settings["auth-any-authenticated"]
	server.spec.auth.oidc.allow.anyAuthenticated
	message := sprintf("everybody who can sign in at %s is let in, instead of named users, emails or groups", [server.spec.auth.oidc.issuerUrl])
}

# METADATA
# title: Secrets are not in the spec
# description: Who may read the JupyterServer reads them there.
# custom:
#   id: inline-secrets
#   severity: warn
#   remediation: Put it into a Secret and name that in secretKeyRef.
verdicts contains verdict(rego.metadata.rule(), secret.path, message) if {
	settings["inline-secrets"]
	some secret in inline_secrets
	message := sprintf("%s is in the spec itself, where everybody who may read the JupyterServer reads it", [secret.what])
}

# METADATA
# title: Tokens are long
# description: Only those in the spec are seen. Generated ones are long.
# custom:
#   id: token-length
#   severity: deny
#   remediation: Use a longer token, or none at all, and a long one is generated.
verdicts contains measured(rego.metadata.rule(), "spec.auth.token.value", message, minimum - found) if {
	minimum := settings["token-length"].minimum
	found := count(server.spec.auth.token.value)
	found < minimum
	message := sprintf("the token has %d characters, but must have at least %d", [found, minimum])
}

inline_secrets contains {"path": "spec.auth.token.value", "what": "the token"} if server.spec.auth.token.value

inline_secrets contains {"path": "spec.auth.oidc.clientSecret.value", "what": "the client secret"} if {
	server.spec.auth.oidc.clientSecret.value
}

token_is_asked_for if {
	some container in containers
	container.list == "containers"
	container.name == "jupyter"
	asks_for_token(container.spec)
}

asks_for_token(container) if {
	given := [entry | some entry in container.env; entry.name == "JUPYTER_TOKEN"]
	count(given) == 1
	given[0].valueFrom.secretKeyRef.name
	not sets_token(container)
}

sets_token(container) if {
	words := [word | some word in array.concat(object.get(container, "command", []), object.get(container, "args", [])); is_string(word)]
	regex.match(
		`(^|[\s"'])--?([A-Za-z_]\w*[.])*(token|password|hashed_password|password_required|allow_unauthenticated_access|identity_provider_class|authorizer_class)(=|\s|$)`,
		# traitlets writes a dot so, and takes it so (traitlets/config/loader.py).
		replace(concat("\n", words), "__DOT__", "."),
	)
}
