"""Measuring how fast a package runs on this machine: what `voxtral-edge bench` does.

Read the modules in this order, which is the order of the data:

  runner      one benchmark from beginning to end, which calls the rest
  speech      the audio that is fed
  live, file  the two measurements: steps of 80 ms as a live stream takes them, and whole recordings
  streams     several live streams in shared passes; `paced_streams` the same on the clock, `capacity` how many hold
  traffic     bytes a step must read; with the read bandwidth this is the floor under its time
  arithmetic  multiply-adds of a step; with the machine's peak this is the other floor
  sensors     temperature, clock, throttling and energy beside the run; `memory` and `environment` likewise
  measures    quantiles, histograms, noise bounds
  report      everything as one JSON document (`benchmarks/schema.json`); `paced_report` for streams on the clock
  page        the document as one HTML page (`charts`, `svg`); `markdown` as one table row
  compare     several documents: what differs beyond noise

Definitions of every figure stand in `docs/benchmarks.md`.
"""
