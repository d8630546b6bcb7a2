# What every config shares. The import registers mkbackbones and, where mmcv has no compiled
# operators, puts torchvision-backed ones in their place.
custom_imports = dict(imports=['mkbackbones'], allow_failed_imports=False)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=1000, max_keep_ckpts=1, rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    # Resuming computes what training without a stop computes, bit by bit, in one process.
    dict(type='mkbackbones.ExactResumeHook'),
    # In half precision on a GPU, passes of the backbone start as a whole and not kernel by kernel.
    dict(type='mkbackbones.RecordBackboneHook'),
]
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
