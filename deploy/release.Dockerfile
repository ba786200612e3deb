# The worker's image of a release, around the program that is in the release's archives: .goreleaser.yaml. It is what the Dockerfile
# beside this makes from the source, for two platforms; a test compares them.
FROM gcr.io/distroless/static-debian12:nonroot
ARG TARGETPLATFORM
# By number, so that a cluster can see that it isn't root.
USER 65532:65532
EXPOSE 8080
COPY $TARGETPLATFORM/lethe-worker /worker
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["/worker", "health"]
ENTRYPOINT ["/worker"]
CMD ["run"]
