
ë	/host:CPUY¬¦ÍÎéÁÊ¢âpythonÌn"ÀêÛöğ­§"¸§ä„ğ×." Ïı†€Åå*"Øùº¶È¶cZpython" KernelAndDeviceFunc::Run"TFE_DeleteTensorHandle"EagerKernelExecute"%!ValidateInputTypeAndPlacement
ŒTask Environment*profile_start_time*profile_options*profile_stop_time2™‘ò¹–üõ2¸›õ¹–üõ22(8"vm