package jupyterserver.admission

# METADATA
# title: CPU, memory and GPUs are bounded
# description: >-
#   The sum of the limits of all containers that run at the same time, and each init container that runs alone, without the
#   containers of the access control. An empty bound allows any amount.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Lower the limits in spec.jupyterServer.resources or those of the other containers.
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
	message := sprintf("%s may use %v of %s; the maximum is %s", [named(together), total, bound.what, bound.max])
}

# METADATA
# title: Bounded resources have limits
# description: Without a limit a container can use all that the node has.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Set the limit; that of the server is in spec.jupyterServer.resources.limits.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.limits.%s", [written(container, "resources"), name]), message) if {
	some bound in bounds
	bound.what != "gpu"
	some name in bound.names
	some container in users
	not container.spec.resources.limits[name]
	message := sprintf("container %s has no %s limit; the maximum is %s", [container.name, name, bound.max])
}

# METADATA
# title: Required requests and limits are set
# description: The lists requiredRequests and requiredLimits name resources, such as cpu and memory.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Set it; the resources of the server are in spec.jupyterServer.resources.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.%s.%s", [written(container, "resources"), section, name]), message) if {
	some section, setting in {"requests": "requiredRequests", "limits": "requiredLimits"}
	some name in settings["resources-bounds"][setting]
	some container in users
	not container.spec.resources[section][name]
	message := sprintf("container %s has no %s %s, which is required", [container.name, name, trim_suffix(section, "s")])
}

# METADATA
# title: Limits are quantities
# description: A limit that is not a quantity cannot be compared with a bound, and for CPU and memory zero means no limit.
# custom:
#   id: resources-bounds
#   severity: deny
#   remediation: Write a Kubernetes quantity, such as 500m, 2 or 4Gi.
verdicts contains verdict(rego.metadata.rule(), sprintf("%s.resources.limits", [container.path]), message) if {
	some bound in bounds
	some name in bound.names
	some container in users
	found := container.spec.resources.limits[name]
	not is_quantity(found, bound.what)
	message := sprintf("the %s limit %v of container %s is not a quantity above zero; zero means no limit", [name, found, container.name])
}

bounds contains {"what": what, "names": names, "max": maximum} if {
	bounded := settings["resources-bounds"]
	some what, [names, maximum] in {
		"cpu": [["cpu"], bounded.maxCPU],
		"memory": [["memory"], bounded.maxMemory],
		"gpu": [bounded.gpus, bounded.maxGPU],
	}
	maximum != ""
}

users := [container | some container in containers; not container.ours]

# Containers that run at the same time are added up; an init container runs alone.
together_lists contains [container | some container in users; runs_concurrently(container)]

together_lists contains [container] if {
	some container in users
	not runs_concurrently(container)
}

runs_concurrently(container) if container.list == "containers"

runs_concurrently(container) if container.spec.restartPolicy == "Always"

is_quantity(value, what) if {
	what != "gpu"
	quantity(value) > 0
}

is_quantity(value, "gpu") if quantity(value) >= 0

path_of(together) := sprintf("%s.limits", [written(together[0], "resources")]) if count(together) == 1

path_of(together) := "spec.pod.containers" if count(together) > 1

named(together) := sprintf("container %s", [together[0].name]) if count(together) == 1

named(together) := sprintf("containers %s", [listed([container.name | some container in together])]) if count(together) > 1
