package jupyterserver.admission

# METADATA
# title: CPU, memory and GPUs are bounded
# description: >-
#   What all containers of the pod may take together (the access control's do not count), and each one that runs alone before
#   them. An empty bound allows any amount.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Lower the limits in spec.jupyterServer.resources, or those of the other containers.
verdicts contains measured(rego.metadata.rule(), path, message, total - quantity(bound.max)) if {
	some bound in bounds
	some together in together_lists
	total := sum([amount |
		some container in together
		some name in bound.names
		amount := quantity(container.spec.resources.limits[name])
		is_number(amount)
	])
	total > quantity(bound.max)
	path := path_of(together)
	message := sprintf("%s may take %v of %s together, but allowed is at most %s", [named(together), total, bound.what, bound.max])
}

# METADATA
# title: What is bounded has a limit
# description: Without a limit a container takes what the node has.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Set the limit, for the server in spec.jupyterServer.resources.limits.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.limits.%s", [written(container, "resources"), name]), message) if {
	some bound in bounds
	bound.what != "gpu"
	some name in bound.names
	some container in users
	not container.spec.resources.limits[name]
	message := sprintf("the container %s has no limit of %s, but allowed is at most %s", [container.name, name, bound.max])
}

# METADATA
# title: Required requests and limits are there
# description: The lists requiredRequests and requiredLimits name resources, such as cpu and memory.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Set what is missing, for the server in spec.jupyterServer.resources.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s.%s", [written(container, "resources"), section, name]), message) if {
	some section, setting in {"requests": "requiredRequests", "limits": "requiredLimits"}
	some name in settings["resources-bounds"][setting]
	some container in users
	not container.spec.resources[section][name]
	message := sprintf("the container %s has no %s of %s, which is required", [container.name, trim_suffix(section, "s"), name])
}

# METADATA
# title: Limits can be read
# description: A limit that is no quantity cannot be compared with a bound, and for CPU and memory zero means none.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Write a Kubernetes quantity, such as 500m, 2 or 4Gi.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.resources.limits", [container.path]), message) if {
	some bound in bounds
	some name in bound.names
	some container in users
	found := container.spec.resources.limits[name]
	not readable(found, bound.what)
	message := sprintf("the limit %v of %s of the container %s is no quantity above zero; zero is no limit at all", [found, name, container.name])
}

bounds contains {"what": what, "names": names, "max": max_} if {
	bounded := settings["resources-bounds"]
	some what, [names, max_] in {
		"cpu": [["cpu"], bounded.maxCPU],
		"memory": [["memory"], bounded.maxMemory],
		"gpu": [bounded.gpus, bounded.maxGPU],
	}
	max_ != ""
}

users := [container | some container in containers; not container.ours]

# Containers that run at the same time count together; an init container runs alone.
together_lists contains [container | some container in users; runs_along(container)]

together_lists contains [container] if {
	some container in users
	not runs_along(container)
}

runs_along(container) if container.list == "containers"

runs_along(container) if container.spec.restartPolicy == "Always"

readable(value, what) if {
	what != "gpu"
	quantity(value) > 0
}

readable(value, "gpu") if quantity(value) >= 0

path_of(together) := sprintf("%s.limits", [written(together[0], "resources")]) if count(together) == 1

path_of(together) := "spec.pod.containers" if count(together) > 1

named(together) := sprintf("the container %s", [together[0].name]) if count(together) == 1

named(together) := sprintf("the containers %s", [listed([container.name | some container in together])]) if count(together) > 1
