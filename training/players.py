"""Who plays: both networks with their optimisers, and the average of G."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from models.dcgan import Discriminator, Generator
from training.average import follow, recompute_statistics
from training.checkpoint import prefixed, select
from training.config import TrainConfig
from training.convolutions import use_matrix_products
from training.distributed import World
from training.execution import LAYOUT_FORMATS, Compiled
from training.optimizers import make_adam, moments, restore_moments, set_rate
from training.vision_aided import Heads
from training.widen import widened


class Players:
    """G and D with first weights, which come from torch's default generator; all processes get the leader's.

    Args:
        config: The recipe, settled for the device.
        device: Where to compute.
        world: The processes that share every batch.
    """

    def __init__(self, config: TrainConfig, device: torch.device, world: World) -> None:
        self._config = config
        self._device = device
        self._world = world
        self.g = self._place(Generator(config.spec))
        d = Discriminator(config.spec, config.d_norm, init=config.d_init, gain=config.d_gain)
        self.d = self._place(d)
        self.g_ema = self._copy_of(self.g) if config.ema_half_life_kimg else None
        self.opt_g = make_adam(self.g, config.lr_g, (config.beta1_g, config.beta2_g))
        self.opt_d = self._adam_of_judge(self.d)
        self.heads: Heads | None = None
        self._follow_heads()

    def adopt(self, config: TrainConfig, step: int) -> None:
        """Goes on by other settings: with a wider D, where they ask for it.

        Args:
            config: The new settings.
            step: Steps done, from which what a wider D needs of chance follows.
        """
        wider = config.spec.ndf != self._config.spec.ndf
        self._config = config
        if wider:
            random = torch.Generator().manual_seed(config.seed + step)
            self.d = self._place(widened(cast("Discriminator", self.d), config.spec.ndf, random))
            self.opt_d = self._adam_of_judge(self.d)
        self._follow_heads()

    def set_rates(self, lr_g: float, lr_d: float) -> None:
        """Changes the learning rates."""
        set_rate(self.opt_g, lr_g)
        set_rate(self.opt_d, lr_d)
        if self.heads is not None:
            set_rate(self.opt_heads, lr_d)

    def follow(self, steps: int) -> None:
        """Moves the average, where one is kept, after a step; ``steps`` were done before it."""
        if self.g_ema is not None:
            batch_size, half_life = self._config.batch_size, self._config.ema_half_life_kimg
            follow(self.g_ema, self.g, steps=steps, batch_size=batch_size, half_life=half_life)

    def final_generator(self) -> Generator:
        """Returns a copy of the generator to show and export, in evaluation mode.

        Where an average is kept it is that one, its BatchNorm statistics freshly computed.
        """
        if self.g_ema is None:
            return self._copy_of(self.g).eval()
        net = self._copy_of(self.g_ema)
        recompute_statistics(net, self._config, self._device)
        return net.eval()

    def tensors(self) -> dict[str, Tensor]:
        """Returns networks and optimisers, without the average, for a checkpoint."""
        nets = prefixed(g=self.g.state_dict(), d=self.d.state_dict())
        tensors = nets | prefixed(opt_g=moments(self.opt_g), opt_d=moments(self.opt_d))
        if self.heads is None:
            return tensors
        return tensors | prefixed(heads=self.heads.state_dict(), opt_heads=moments(self.opt_heads))

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverts ``tensors``, and takes the average that is among them."""
        self.g.load_state_dict(select(tensors, "g"))
        self.d.load_state_dict(select(tensors, "d"))
        if self.g_ema is not None:
            self.g_ema.load_state_dict(select(tensors, "g_ema"))
        restore_moments(self.opt_g, select(tensors, "opt_g"))
        restore_moments(self.opt_d, select(tensors, "opt_d"))
        if self.heads is not None and (heads := select(tensors, "heads")):
            self.heads.load_state_dict(heads)
            restore_moments(self.opt_heads, select(tensors, "opt_heads"))

    def _adam_of_judge(self, net: nn.Module) -> torch.optim.Adam:
        config = self._config
        return make_adam(net, config.lr_d, (config.beta1_d, config.beta2_d))

    def _follow_heads(self) -> None:
        """Has heads beside D where the settings ask for them, and keeps those that it has."""
        if not self._config.vision_aided:
            self.heads = None
        elif self.heads is None:
            self.heads = cast("Heads", self._laid_out(Heads()))
            self._world.copy_from_leader(self.heads)
            self.opt_heads = self._adam_of_judge(self.heads)

    def _place(self, net: nn.Module) -> nn.Module:
        if self._device.type == "cpu":
            use_matrix_products(net)
        net = self._laid_out(net)
        self._world.copy_from_leader(net)
        net = self._world.share_statistics(net, self._device)
        if self._config.execution == "compile":
            Compiled(net)
        return net

    def _copy_of(self, net: nn.Module) -> Generator:
        copy = Generator(self._config.spec)
        copy.load_state_dict(net.state_dict())
        return cast("Generator", self._laid_out(copy))

    def _laid_out(self, net: nn.Module) -> nn.Module:
        return net.to(self._device).to(memory_format=LAYOUT_FORMATS[self._config.layout])
