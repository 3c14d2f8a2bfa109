"""Kernels called python3 are of this very interpreter.

Jupyter itself starts what a user's own kernel of that name says, which another environment may have left there: it may
lack this package, or have another version of it.
"""

import sys
from importlib.metadata import EntryPoint

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from bench.protocol import kernel

NAME = "python3"  # of the kernel in the header of chapters
COMMAND = [sys.executable, kernel.__file__]


class OwnProvisioner(LocalProvisioner):
    """Start kernels as Jupyter does, but those called python3 with this interpreter."""

    async def pre_launch(self, **kwargs):
        """Take this interpreter's command in the place of another one's."""
        if self.parent and self.parent.kernel_name == NAME:
            self.kernel_spec.argv, self.kernel_spec.env = [*COMMAND, "-f", "{connection_file}"], {}
        return await super().pre_launch(**kwargs)


def use(provisioner: type[OwnProvisioner] | None = None) -> None:
    """Have the kernels that this process starts from now on started so.

    Parameters
    ----------
    provisioner
        How; a subclass stays when it is asked for once more without one.
    """
    factory = KernelProvisionerFactory.instance()
    if provisioner is None and factory.default_provisioner_name.startswith("bench-"):
        return
    provisioner = provisioner or OwnProvisioner
    name = f"bench-{provisioner.__name__}"
    entry = EntryPoint(name, f"{provisioner.__module__}:{provisioner.__name__}", factory.GROUP_NAME)
    factory.provisioners[name] = entry
    factory.default_provisioner_name = name
