# The container image. `docker build` makes it from the Dockerfile, image-offline without a registry.

IMAGE ?= pghad:$(VERSION)

.PHONY: image image-offline
image: ## build the image from the Dockerfile; BASE=IMAGE for another one with PostgreSQL
	docker build -t $(IMAGE) $(if $(BASE),--build-arg BASE=$(BASE)) .

image-offline: $(PROGRAMS) need-gate ## the same image from Debian packages alone: build/image/pghad.tar (root)
	$(Q)tools/image-offline build/image/pghad.tar $(B) $(IMAGE)
