package jupyterserver.admission

# METADATA
# title: Servers require a token or a sign-in
# description: The mode none lets in anyone who can reach the URL.
# custom:
#   id: auth-none
#   severity: deny
#   remediation: Set spec.auth.mode to token or oidc.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.mode", message) if {
	input.object.spec.auth.mode == "none"
	settings["auth-none"].allow == false
	message := "mode none would let in anyone who can reach the server; use token or oidc"
}

# METADATA
# title: Jupyter requires the token
# description: With mode token, Jupyter gets the token from a Secret, and nothing in the rendered pod overrides it.
# custom:
#   id: auth-none
#   severity: deny
#   remediation: Remove changes of the token of container jupyter from spec.patches.
verdicts contains verdict(rego.metadata.rule(), "spec.patches", message) if {
	input.object.spec.auth.mode == "token"
	settings["auth-none"].allow == false
	not token_required
	message := "container jupyter does not get JUPYTER_TOKEN from a Secret, which would let in anyone who can reach the server"
}

# METADATA
# title: OpenID issuers are allowed
# description: An empty list allows any issuer.
# custom:
#   id: auth-issuers
#   severity: deny
#   remediation: Set spec.auth.oidc.issuerUrl to an allowed provider.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.oidc.issuerUrl", message) if {
	allowed := settings["auth-issuers"].allowed
	count(allowed) > 0
	found := server.spec.auth.oidc.issuerUrl
	not found in allowed
	message := sprintf("issuer %s is not allowed; allowed: %s", [found, listed(allowed)])
}

# METADATA
# title: OpenID issuers use TLS
# description: Without TLS, anyone on the network path can sign in as any user.
# custom:
#   id: auth-issuers-https
#   severity: warn
#   remediation: Use the https URL of the provider in spec.auth.oidc.issuerUrl.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.oidc.issuerUrl", message) if {
	settings["auth-issuers-https"]
	found := server.spec.auth.oidc.issuerUrl
	not startswith(found, "https://")
	message := sprintf("issuer %s does not use TLS", [found])
}

# METADATA
# title: Allowed users are named
# description: At a public provider, every signed-in user can mean everyone.
# custom:
#   id: auth-any-authenticated
#   severity: warn
#   remediation: Name users, emails or groups in spec.auth.oidc.allow.
verdicts contains verdict(rego.metadata.rule(), "spec.auth.oidc.allow.anyAuthenticated", message) if {
	settings["auth-any-authenticated"]
	server.spec.auth.oidc.allow.anyAuthenticated
	message := sprintf("everyone who can sign in at %s has access", [server.spec.auth.oidc.issuerUrl])
}

# METADATA
# title: The spec contains no secrets
# description: Anyone who can read the JupyterServer can read them.
# custom:
#   id: inline-secrets
#   severity: warn
#   remediation: Store it in a Secret and reference that with secretKeyRef.
verdicts contains verdict(rego.metadata.rule(), secret.path, message) if {
	settings["inline-secrets"]
	some secret in inline_secrets
	message := sprintf("%s is in the spec, where anyone who can read the JupyterServer can read it", [secret.what])
}

# METADATA
# title: Tokens are long enough
# description: Only tokens in the spec are checked. Generated tokens are long.
# custom:
#   id: token-length
#   severity: deny
#   remediation: Use a longer token, or remove it to have one generated.
verdicts contains measured(rego.metadata.rule(), "spec.auth.token.value", message, minimum - found) if {
	minimum := settings["token-length"].minimum
	found := count(server.spec.auth.token.value)
	found < minimum
	message := sprintf("the token has %d characters; the minimum is %d", [found, minimum])
}

inline_secrets contains {"path": "spec.auth.token.value", "what": "the token"} if server.spec.auth.token.value

inline_secrets contains {"path": "spec.auth.oidc.clientSecret.value", "what": "the client secret"} if {
	server.spec.auth.oidc.clientSecret.value
}

token_required if {
	some container in containers
	container.list == "containers"
	container.name == "jupyter"
	container_requires_token(container.spec)
}

container_requires_token(container) if {
	given := [entry | some entry in container.env; entry.name == "JUPYTER_TOKEN"]
	count(given) == 1
	given[0].valueFrom.secretKeyRef.name
	not container_overrides_token(container)
}

container_overrides_token(container) if {
	words := [word | some word in array.concat(object.get(container, "command", []), object.get(container, "args", [])); is_string(word)]
	regex.match(
		`(^|[\s"'])--?([A-Za-z_]\w*[.])*(token|password|hashed_password|password_required|allow_unauthenticated_access|identity_provider_class|authorizer_class)(=|\s|$)`,
		# traitlets encodes and decodes a dot like this (traitlets/config/loader.py).
		replace(concat("\n", words), "__DOT__", "."),
	)
}
