"""Run by people: the one check, benchmarks. Installed as `shmlog.tools`; nobody imports it.

Modules in here import each other relatively: the checkout knows this folder as `tools`, an installation as
`shmlog.tools`.
"""
