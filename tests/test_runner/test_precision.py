import pytest
from mmengine.config import Config

from mkbackbones.runner.errors import InputError
from mkbackbones.runner.precision import set_up_amp


class TestSetUpAmp:
    bfloat16 = 'mkbackbones.BFloat16OptimWrapper'

    def wrapper(self, wanted=True, device='cuda', **wrapper):
        cfg = Config({'optim_wrapper': wrapper})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('mmengine.device.get_device', lambda: device)
            set_up_amp(cfg, wanted)
        return cfg.optim_wrapper.to_dict()

    @pytest.mark.parametrize('device', ['cuda', 'cpu'])
    def test_is_bfloat16_unless_the_config_says_float16(self, device):
        assert self.wrapper(type='OptimWrapper', device=device) == {'type': self.bfloat16}
        assert self.wrapper(type='OptimWrapper', dtype='bfloat16') == {'type': self.bfloat16}

    def test_float16_is_left_to_mmengine(self):
        wanted = {'type': 'AmpOptimWrapper', 'dtype': 'float16'}
        assert self.wrapper(type='OptimWrapper', dtype='float16') == wanted

    @pytest.mark.parametrize('wanted', [True, False])
    def test_a_config_that_has_it_stays_as_it_is(self, wanted):
        for kind in (dict(type='AmpOptimWrapper', loss_scale=512.0), dict(type=self.bfloat16)):
            assert self.wrapper(wanted, **kind) == kind

    @pytest.mark.parametrize('wanted', [True, False])
    def test_a_config_for_gpus_runs_on_a_cpu(self, wanted):
        wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
        assert self.wrapper(wanted, device='cpu', **wrapper) == {'type': self.bfloat16}

    def test_refuses_another_wrapper(self):
        with pytest.raises(InputError, match='ApexOptimWrapper'):
            self.wrapper(type='ApexOptimWrapper')
