"""Parts of the source model that stay float: torch's operators become kernels, imported, fused and scheduled by TVM."""
